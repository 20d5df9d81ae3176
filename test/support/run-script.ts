import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { join } from 'node:path'

export interface ScriptRun {
  readonly code: number | null
  readonly lines: readonly string[]
  /** What it counted: lines of the form `  lost   0`. */
  count(name: string): number
}

/** Runs one of the older runs, which are scripts of their own, to its end. */
export async function runScript(
  script: string,
  args: readonly string[],
  { say, signal }: { readonly say: (line: string) => void; readonly signal: AbortSignal },
): Promise<ScriptRun> {
  const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, '../../scripts/chaos', script), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line)
    say(line)
  })
  // Asked, not killed: it has servers to stop.
  const stop = () => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  signal.removeEventListener('abort', stop)
  const counts = new Map<string, number>()
  for (const line of lines) {
    const [, name = '', count] = /^ {2}(\S.*?) {2,}(\d+)$/.exec(line) ?? []
    if (count !== undefined) counts.set(name, Number(count))
  }
  return { code, lines, count: (name) => counts.get(name) ?? NaN }
}
