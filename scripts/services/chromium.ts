import { canInstall, install, isExecutable, onPath } from './commands.ts'
import { Unavailable, type Progress } from './service.ts'

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'] as const

/** A browser for the tests of the operator's page: one that is here, or Debian's, which is installed where that is allowed. */
export async function chromium(progress: Progress): Promise<string> {
  const found = chromiumHere()
  if (found !== undefined) return found
  if (canInstall()) await install(['chromium', 'fonts-dejavu-core'], progress)
  const installed = onAnyPath()
  if (installed === undefined)
    throw new Unavailable('install Chromium, or set HOLDFAST_CHROMIUM to the path of Chromium or Chrome')
  return installed
}

/** The browser that `HOLDFAST_CHROMIUM` names, or one on the path. Nothing is installed. */
export function chromiumHere(): string | undefined {
  const given = process.env['HOLDFAST_CHROMIUM']
  if (given === undefined || given === '') return onAnyPath()
  if (isExecutable(given)) return given
  throw new Unavailable(`HOLDFAST_CHROMIUM names no program: ${given}`)
}

function onAnyPath(): string | undefined {
  return names.map((name) => onPath(name)).find((path) => path !== undefined)
}
