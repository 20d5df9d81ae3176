import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Installs what the lockfile of a folder names, unless that was done since the lockfile changed. What npm prints goes to standard error. */
export function installOwnPackages(folder: string, said: string, flags: readonly string[] = []): void {
  const [made, source] = [join(folder, 'node_modules/.package-lock.json'), join(folder, 'package-lock.json')]
  if (existsSync(made) && statSync(made).mtimeMs >= statSync(source).mtimeMs) return
  console.error(said)
  const { status } = spawnSync('npm', ['ci', ...flags], { cwd: folder, stdio: ['ignore', 2, 'inherit'] })
  if (status !== 0) throw new Error(`npm ci failed in ${folder}`)
}
