// One consumer in a process of its own: orders on its standard input, answers on its standard output.
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { isRetryLater } from '../../src/core/errors.ts'
import type { TransactionalIdempotencyStore } from '../../src/idempotency/store.ts'
import { effectIn } from './ledger.ts'
import type { Answer, Order, Step, WorkerSettings } from './steps.ts'
import { workload } from './workload.ts'

const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings
const orders = new Map<string, Order>()
const effect = effectIn(settings.schema)

/** Dies on the spot, if this is the step; nothing that was not sent yet is sent any more. */
function reach(step: Step, id: string): void {
  if (orders.get(id)?.die !== step) return
  writeSync(1, `dies ${JSON.stringify({ id, step })}\n`)
  process.kill(process.pid, 'SIGKILL')
}

function watched(store: TransactionalIdempotencyStore): TransactionalIdempotencyStore {
  return {
    ...store,
    async claim(request) {
      reach('before the claim', request.key)
      const answer = await store.claim(request)
      reach('after the claim', request.key)
      return answer
    },
    async completeIn(tx, held, retainMs) {
      const answer = await store.completeIn(tx, held, retainMs)
      if (answer === 'lost') writeSync(1, `refused ${JSON.stringify({ id: held.key })}\n`)
      reach('before COMMIT', held.key)
      // The request leaves with this turn of the event loop, and nobody is there for its answer.
      setImmediate(() => reach('at COMMIT', held.key))
      return answer
    },
  }
}

const { deliver } = workload({
  ...settings,
  around: watched,
  async handler({ message: { id }, tx }) {
    await effect(tx, id)
    reach('in the handler', id)
    const blockMs = orders.get(id)?.blockMs
    if (blockMs === undefined) return
    orders.delete(id)
    writeSync(1, `blocks ${JSON.stringify({ id })}\n`)
    // The whole process: no renewal, no timer, no answer is read.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockMs)
    writeSync(1, `wakes ${JSON.stringify({ id })}\n`)
  },
})

function answer(told: Answer): void {
  writeSync(1, `${'ack' in told ? 'ack' : 'nack'} ${JSON.stringify(told)}\n`)
}

createInterface(process.stdin).on('line', (line) => {
  const { n, ...order } = JSON.parse(line) as Order & { readonly n: number }
  if (order.die !== undefined || order.blockMs !== undefined) orders.set(order.id, order)
  deliver(order.id).then(
    (ack) => {
      reach('after COMMIT, before the ack', order.id)
      answer({ n, ack: String(ack) })
    },
    (error: unknown) => answer({ n, nack: isRetryLater(error) ? error.afterMs : 20 }),
  )
})
process.stdin.on('end', () => process.exit(0))
console.log('ready')
