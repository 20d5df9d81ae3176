import { afterEach, describe, expect, it } from 'vitest'
import { PermanentError } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing } from '../../src/core/publisher.ts'
import { watchDeliveries, type DeliveryWatch } from '../../src/testing/index.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'

let watch: DeliveryWatch
afterEach(() => watch.stop())

const failing = pipeline('orders').handle(async ({ message }) => {
  if (message.id === 'bad') throw new PermanentError('no such customer')
})

describe('watchDeliveries()', () => {
  it('waits for a message without a sleep', async () => {
    watch = watchDeliveries({ pipeline: 'orders' })
    const broker = memoryBroker({ partitions: 1 })
    const stop = new AbortController()
    const running = memoryConsumer({ broker, groupId: 'g', topics: ['orders'], pipeline: failing }).run(stop.signal)
    const outcome = watch.outcomeOf('o-1')
    await broker.publisher().publish([outgoing({ destination: 'orders', id: 'o-1', body: null })])
    expect(await outcome).toBe('handled')
    // It was acked before: no wait.
    expect(await watch.outcomeOf('o-1')).toBe('handled')
    stop.abort()
    await running
  })

  it('says why there is no outcome', async () => {
    watch = watchDeliveries({ timeoutMs: 20 })
    await expect(watch.outcomeOf('o-1')).rejects.toThrow('no outcome of o-1 within 20 ms: no message came')
    await failing.dispatch({ message: { id: 'bad', body: null } }).catch(() => {})
    await expect(watch.outcomeOf('o-1')).rejects.toThrow('it did not come, others did')
    await expect(watch.outcomeOf('bad')).rejects.toThrow('nacked 1 times, last with PermanentError: no such customer')
    expect(watch.of('bad')).toMatchObject({ outcomes: [], errors: [{ code: 'permanent' }] })
  })

  it('looks at one pipeline alone if told so', async () => {
    watch = watchDeliveries({ pipeline: 'others', timeoutMs: 20 })
    await failing.dispatch({ message: { id: 'o-1', body: null } })
    expect(watch.of('o-1')).toEqual({ outcomes: [], errors: [] })
  })

  it('rejects what waits when it stops, and sees nothing afterwards', async () => {
    watch = watchDeliveries()
    const outcome = watch.outcomeOf('o-1')
    watch.stop()
    await expect(outcome).rejects.toThrow('stopped while waiting for o-1')
    await failing.dispatch({ message: { id: 'o-1', body: null } })
    expect(watch.of('o-1').outcomes).toEqual([])
  })
})
