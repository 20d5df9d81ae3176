import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { RetryLater } from '../../src/core/errors.ts'
import type { Answer, Order, WorkerSettings } from './steps.ts'

export interface WorkerPool {
  /** Gives the order to one of the processes that live; rejects when it is nacked, or its process dies. */
  deliver(order: Order): Promise<string>
  dispose(): Promise<void>
}

export interface WorkerPoolOptions {
  readonly size: number
  readonly settings: WorkerSettings
  readonly random: () => number
  /** What a process says besides answers: `dies`, `blocks`, `wakes`, `refused`. */
  readonly heard: (what: string, told: { readonly id: string; readonly step?: string }) => void
}

interface Worker {
  readonly child: ChildProcess
  readonly open: Map<number, (answer: Answer) => void>
}

/** Consumer processes; one that died is replaced. */
export function workerPool({ size, settings, random, heard }: WorkerPoolOptions): WorkerPool {
  const ready: Worker[] = []
  const all = new Set<Worker>()
  let over = false
  let last = 0

  function start(): void {
    if (over) return
    const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
    const args = [...flags, join(import.meta.dirname, 'worker.ts'), JSON.stringify(settings)]
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const worker: Worker = { child, open: new Map() }
    all.add(worker)
    child.stdin.on('error', () => {})
    createInterface(child.stdout).on('line', (line) => {
      if (line === 'ready') {
        ready.push(worker)
        return
      }
      const space = line.indexOf(' ')
      const told = JSON.parse(line.slice(space)) as Answer
      const what = line.slice(0, space)
      if (what === 'ack' || what === 'nack') worker.open.get(told.n)?.(told)
      else heard(what, JSON.parse(line.slice(space)) as { id: string; step?: string })
    })
    // After the last line, so that whoever is said to have died was heard to.
    child.once('close', () => {
      all.delete(worker)
      if (ready.includes(worker)) ready.splice(ready.indexOf(worker), 1)
      for (const [n, settle] of worker.open) settle({ n, nack: 0 })
      start()
    })
  }
  for (let n = 0; n < size; n++) start()

  return {
    async deliver(order) {
      while (ready.length === 0 && !over) await sleep(10)
      const worker = ready[Math.floor(random() * ready.length)]
      if (worker === undefined) throw new RetryLater(0)
      const n = ++last
      const answer = await new Promise<Answer>((resolve) => {
        worker.open.set(n, resolve)
        worker.child.stdin?.write(`${JSON.stringify({ ...order, n })}\n`)
      })
      worker.open.delete(n)
      if ('ack' in answer) return answer.ack
      throw new RetryLater(answer.nack)
    },
    async dispose() {
      over = true
      await Promise.all(
        [...all].map(async ({ child }) => {
          const closed = once(child, 'close')
          child.kill('SIGKILL')
          await closed
        }),
      )
    },
  }
}
