import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { withLock } from './lock.ts'
import type { User } from './processes.ts'
import type { Progress } from './service.ts'

const execute = promisify(execFile)

export interface RunOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  readonly user?: User | undefined
  readonly timeoutMs?: number
}

/** Runs a command to its end and gives its output; a failure carries the last lines that it printed. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { user, timeoutMs = 900_000, ...rest } = options
  try {
    const { stdout } = await execute(command, args, { ...rest, ...user, timeout: timeoutMs, maxBuffer: 64 * 1024 ** 2 })
    return stdout
  } catch (error) {
    throw new Error(`${command} ${args[0] ?? ''} failed:\n${lastLines(error)}`, { cause: error })
  }
}

/** The full path of a program on the PATH, or nothing. */
export function onPath(program: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return folders.map((folder) => join(folder, program)).find(isExecutable)
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export const isRoot = process.getuid?.() === 0

/** Says whether missing programs can be installed here without asking anybody. */
export function canInstall(): boolean {
  return isRoot && onPath('apt-get') !== undefined
}

/** Tries to install Debian packages. The caller looks whether they are there now. */
export async function install(packages: readonly string[], progress: Progress): Promise<void> {
  // RUNLEVEL keeps the packages' own servers from being started.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  const apt = (...args: readonly string[]) => run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=600', ...args], { env })
  const add = () => apt('install', '-y', '--no-install-recommends', ...packages)
  const work = async () => {
    progress(`installing ${packages.join(', ')} with apt-get…`)
    // The package lists are refreshed only when they prove to be old or missing.
    await add().catch(async () => {
      progress('refreshing the package lists…')
      await apt('update')
      await add()
    })
  }
  try {
    await withLock(join(tmpdir(), 'holdfast-apt.lock'), work, () => progress('waiting for another installation…'))
  } catch (error) {
    progress(error instanceof Error ? error.message : String(error))
  }
}

function lastLines(error: unknown): string {
  const printed = isFailedRun(error)
    ? `${error.stdout}
${error.stderr}`
    : ''
  const text = printed.trim() === '' ? String(error) : printed.trim()
  return text.split('\n').slice(-12).join('\n')
}

function isFailedRun(error: unknown): error is { readonly stdout: string; readonly stderr: string } {
  return error instanceof Error && 'stdout' in error && 'stderr' in error
}
