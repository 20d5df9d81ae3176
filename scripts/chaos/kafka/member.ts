import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** What runs the managed consumer: kafkajs, or @platformatic/kafka with one of its group protocols. */
export const managedClients = ['kafkajs', 'classic', 'consumer'] as const
export type ManagedClient = (typeof managedClients)[number]

export interface MemberSettings {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly groupId: string
  readonly postgresUrl: string
  readonly schema: string
  readonly ordered: boolean
  /** Without claims. */
  readonly graceful: boolean
  readonly client: ManagedClient
  readonly concurrency: number
  readonly handlerMs: number
  readonly planted: string | undefined
  readonly freezeMs: number
}

/** A consumer process of the run. */
export interface Member {
  readonly pid: number
  readonly counts: { readonly delivered: number; readonly duplicates: number }
  readonly alive: boolean
  /** It said so: it consumes, and listens to signals. */
  readonly isReady: boolean
  signal(name: NodeJS.Signals): void
  readonly exited: Promise<void>
}

export function startMember(
  settings: object,
  problem: (line: string) => void,
  program: string = join(import.meta.dirname, 'consumer.ts'),
): Member {
  const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
  const child: ChildProcess = spawn(process.execPath, [...flags, program, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let isReady = false
  let counts = { delivered: 0, duplicates: 0 }
  if (child.stdout !== null)
    createInterface(child.stdout).on('line', (line) => {
      if (line === 'ready') isReady = true
      else if (line.startsWith('counts ')) counts = JSON.parse(line.slice(7)) as typeof counts
    })
  if (child.stderr !== null) createInterface(child.stderr).on('line', problem)
  let alive = true
  const exited = new Promise<void>((resolve) =>
    child.once('exit', () => {
      alive = false
      resolve()
    }),
  )
  return {
    pid: child.pid ?? 0,
    get counts() {
      return counts
    },
    get alive() {
      return alive
    },
    get isReady() {
      return isReady && alive
    },
    signal: (name) => void child.kill(name),
    exited,
  }
}
