// A customer whose address is missing blocks only himself. The same orders twice: without parking, and with it.
import { deadLetter, idempotency, pipeline, retry, RetryLater } from 'holdfast'
import { memoryBroker, memoryConsumer, memoryIdempotencyStore } from 'holdfast/memory'
import { parking, parkingWorker } from 'holdfast/parking'
import { fakeClock } from 'holdfast/testing'

const customers = 20
const orders = 400
// So far past the oldest unfinished message a consumer goes: what lies between may be repeated after a crash.
const ahead = 60
const addressKnownAtMs = 3_000

/** Sends all orders at once, and tells how many were handled after each second. */
async function run(parked: boolean): Promise<void> {
  // Time is simulated, so that the picture is the same everywhere.
  const clock = fakeClock()
  const broker = memoryBroker({ clock, partitions: 1 })
  const store = memoryIdempotencyStore({ clock })
  const handled: string[] = []

  const outside = pipeline('shipping').use(deadLetter({ to: broker.publisher(), clock }))
  const shipping = (parked ? outside.use(parking({ store, clock, parkAfterMs: 500 })) : outside)
    .use(idempotency({ store, clock }))
    .use(retry({ clock }))
    .handle(async ({ message }) => {
      await new Promise<void>((resolve) => clock.after(20, resolve))
      if (message.key === 'ada' && clock.now() < addressKnownAtMs)
        throw new RetryLater(1_000, { because: 'the address of ada is not known yet' })
      handled.push(message.id)
    })

  await broker.publisher().publish(
    Array.from({ length: orders }, (_, n) => ({
      destination: 'orders',
      id: `order-${n}`,
      type: 'order.placed',
      key: n % customers === 0 ? 'ada' : `customer-${n % customers}`,
      headers: {},
      body: Buffer.from('{}'),
      timeMs: clock.wall(),
    })),
  )

  const stop = new AbortController()
  const running = [
    memoryConsumer({
      broker,
      groupId: 'shipping',
      topics: ['orders'],
      pipeline: shipping,
      concurrency: 2,
      ahead,
      clock,
    }).run(stop.signal),
    ...(parked ? [parkingWorker({ store, pipelines: [shipping], clock }).run(stop.signal)] : []),
  ]
  const isOfAda = (id: string): boolean => Number(id.slice('order-'.length)) % customers === 0
  console.log(parked ? '\nwith parking' : 'without parking')
  for (let ms = 1_000; ms <= 8_000; ms += 1_000) {
    await clock.advance(1_000)
    const ofAda = handled.filter(isOfAda).length
    const others = handled.length - ofAda
    console.log(
      `${ms / 1_000} s  ${'█'.repeat(Math.round(others / 10)).padEnd(38)} ${String(others).padStart(3)} of others, ${String(ofAda).padStart(2)} of ada`,
    )
  }
  stop.abort()
  await clock.advance(60_000)
  await Promise.all(running)

  const ofAda = handled.filter(isOfAda).map((id) => Number(id.slice('order-'.length)))
  const isInOrder = ofAda.every((n, at) => at === 0 || n > (ofAda[at - 1] ?? 0))
  console.log(
    `${new Set(handled).size} of ${orders} handled, ${handled.length - new Set(handled).size} twice, ada ${isInOrder ? 'in order' : 'OUT OF ORDER'}`,
  )
}

await run(false)
await run(true)
