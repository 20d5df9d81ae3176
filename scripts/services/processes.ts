import { execFileSync, spawn } from 'node:child_process'
import { existsSync, openSync, closeSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** A process, told apart from a later one that was given the same pid. */
export interface ProcessId {
  readonly pid: number
  readonly startedAt: string
}

export interface User {
  readonly uid: number
  readonly gid: number
}

export interface LaunchOptions {
  /** File that takes its standard output and error. */
  readonly log: string
  readonly user?: User | undefined
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
}

/** Starts a program that outlives us, in a process group of its own. */
export async function launch(command: string, args: readonly string[], options: LaunchOptions): Promise<ProcessId> {
  const { log, user, cwd, env = process.env } = options
  const output = openSync(log, 'a')
  try {
    const child = spawn(command, args, { detached: true, stdio: ['ignore', output, output], cwd, env, ...user })
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
    child.unref()
    const { pid } = child
    if (pid === undefined) throw new Error(`${command} has no process id`)
    return { pid, startedAt: startOf(pid) ?? 'gone' }
  } finally {
    closeSync(output)
  }
}

export function isAlive({ pid, startedAt }: ProcessId): boolean {
  return startOf(pid) === startedAt
}

/** Signals the process if it is still the one that was meant; says whether it was. */
export function signal(id: ProcessId, name: NodeJS.Signals, to: 'process' | 'group' = 'process'): boolean {
  if (!isAlive(id)) return false
  try {
    process.kill(to === 'group' ? -id.pid : id.pid, name)
    return true
  } catch {
    return false
  }
}

/** Asks first, kills the whole group after `graceMs`. */
export async function stop(id: ProcessId, name: NodeJS.Signals = 'SIGTERM', graceMs = 15_000): Promise<void> {
  if (!signal(id, name)) return
  if (await gone(id, graceMs)) return
  signal(id, 'SIGKILL', 'group')
  await gone(id, 5_000)
}

/** Waits until the process has ended; says whether it did in time. */
export async function gone(id: ProcessId, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs
  while (isAlive(id)) {
    if (performance.now() > deadline) return false
    await sleep(25)
  }
  return true
}

export interface WaitOptions {
  readonly name: string
  readonly processes: readonly ProcessId[]
  readonly log: string
  readonly withinMs?: number
}

/** Asks until the server answers; gives up when it has ended, with the end of its log. */
export async function answered<T>(ask: () => Promise<T>, options: WaitOptions): Promise<T> {
  const { name, processes, log, withinMs = 90_000 } = options
  const deadline = performance.now() + withinMs
  for (;;) {
    const running = processes.every(isAlive)
    try {
      return await ask()
    } catch (error) {
      const why = running ? `did not answer within ${withinMs} ms` : 'ended while starting'
      if (!running || performance.now() > deadline) {
        throw new Error(`${name} ${why}; the end of ${log}:\n${tail(log)}`, { cause: error })
      }
      await sleep(50)
    }
  }
}

/** When the process started, or nothing when there is none; a pid alone may have been given to another since. */
function startOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return startByPs(pid)
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in brackets, may hold spaces; the fields after it may not. They begin with the state, the third field.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : `${bootId()}/${fields[19]}`
  } catch {
    return undefined
  }
}

function startByPs(pid: number): string | undefined {
  try {
    const found = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    return found === '' ? undefined : found
  } catch {
    return undefined
  }
}

function bootId(): string {
  const file = '/proc/sys/kernel/random/boot_id'
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
}

function tail(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-12).join('\n') : '(no log)'
}
