import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const from = (file: string): string => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../src', file)).href)

/** A service of the memory broker that has handled ten orders: the command moves its group. */
export const rewindConfig: string = `
import { outgoing } from ${from('core/publisher.ts')}
import { pipeline } from ${from('core/pipeline.ts')}
import { HoldfastError } from ${from('core/errors.ts')}
import { idempotency } from ${from('idempotency/idempotency.ts')}
import { memoryBroker, memoryConsumer, memoryIdempotencyStore, memoryReplay } from ${from('transports/memory/index.ts')}
const broker = memoryBroker({ partitions: 1 })
const billing = pipeline('billing').use(idempotency({ store: memoryIdempotencyStore() })).handle(() => {})
const naked = pipeline('naked').handle(() => {})
const group = { broker, groupId: 'billing', topics: ['orders'] }
const other = { ...group, groupId: 'naked' }
await broker.publisher().publish(Array.from({ length: 10 }, (_, n) => outgoing({ id: 'm' + n, destination: 'orders', body: null })))
for (const each of [{ ...group, pipeline: billing }, { ...other, pipeline: naked }]) {
  const stop = new AbortController()
  const running = memoryConsumer(each).run(stop.signal)
  while (broker.lag(each.groupId, 'orders') > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  stop.abort()
  await running
}
export default {
  replays: {
    billing: (request) => memoryReplay({ ...group, pipeline: billing, ...request }),
    naked: (request) => memoryReplay({ ...other, pipeline: naked, ...request }),
    // Counts, and cannot move.
    broken: async (request) => {
      if (request.dryRun === true) return memoryReplay({ ...group, pipeline: billing, ...request })
      throw new HoldfastError('unavailable', 'the broker is away')
    },
  },
}
`
