import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { join } from 'node:path'

/** A fixture in a process of its own; it talks in lines on its standard output. */
export interface Child {
  readonly pid: number
  /** The lines printed so far. */
  readonly lines: readonly string[]
  /** Resolves to the first line, printed already or still to come, that begins with `text`; rejects if the process ends first. */
  line(text: string, withinMs?: number): Promise<string>
  /** Resolves once that many lines that begin with `text` were printed. */
  count(text: string, atLeast: number, withinMs?: number): Promise<void>
  /** Writes one line to its standard input. */
  send(line: string): void
  kill(name?: NodeJS.Signals): void
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  /** Kills it for good and waits until it is gone. */
  dispose(): Promise<void>
}

export interface ChildOptions {
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Shows what it prints; for finding faults. */
  readonly echo?: boolean
}

const WITHIN_MS = 30_000

/** Runs a TypeScript file, given from the project's folder, under the Node that runs us. */
export function spawnChild(file: string, { args = [], env = {}, echo = false }: ChildOptions = {}): Child {
  const path = join(import.meta.dirname, '../..', file)
  const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
  const child = spawn(process.execPath, [...flags, path, ...args], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  const errors: string[] = []
  const watchers = new Set<() => void>()
  const notify = () => {
    for (const watcher of watchers) watcher()
  }
  let ended: string | undefined
  createInterface(child.stdout).on('line', (line) => {
    if (echo) console.log(`${file}: ${line}`)
    lines.push(line)
    notify()
  })
  createInterface(child.stderr).on('line', (line) => {
    if (echo) console.error(`${file}: ${line}`)
    errors.push(line)
  })
  child.stdin.on('error', () => {})
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject)
    // `close` comes after the last line; `exit` may come before it.
    child.once('close', (code, signal) => {
      ended = `code ${code}, signal ${signal}`
      notify()
      resolve({ code, signal })
    })
  })

  function until<T>(find: () => T | undefined, what: string, withinMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        clearTimeout(timer)
        watchers.delete(look)
        act()
      }
      const fail = (why: string) => {
        const printed = [...lines.slice(-10), ...errors.slice(-20)].join('\n')
        finish(() => reject(new Error(`${file} ${why} without ${what}; it printed:\n${printed}`)))
      }
      const look = () => {
        const found = find()
        if (found !== undefined) finish(() => resolve(found))
        else if (ended !== undefined) fail(`ended with ${ended}`)
      }
      const timer = setTimeout(() => fail(`went on for ${withinMs} ms`), withinMs)
      watchers.add(look)
      look()
    })
  }

  return {
    pid: child.pid ?? 0,
    lines,
    line: (text, withinMs = WITHIN_MS) =>
      until(() => lines.find((line) => line.startsWith(text)), `the line '${text}'`, withinMs),
    count: async (text, atLeast, withinMs = WITHIN_MS) => {
      const enough = () => lines.filter((line) => line.startsWith(text)).length >= atLeast || undefined
      await until(enough, `${atLeast} lines '${text}'`, withinMs)
    },
    send: (line) => void child.stdin.write(`${line}\n`),
    kill: (name = 'SIGKILL') => void child.kill(name),
    exited,
    dispose: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}
