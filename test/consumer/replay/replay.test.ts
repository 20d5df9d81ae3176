import { expect, it } from 'vitest'
import type { ReplayPlan } from '../../../src/consumer/replay/plan.ts'
import { subscribe } from '../../../src/core/events.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import {
  memoryBroker,
  memoryConsumer,
  memoryIdempotencyStore,
  memoryReplay,
  type MemoryReplayOptions,
} from '../../../src/transports/memory/index.ts'
import { rabbitmqConsumer, type RabbitmqConsumerOptions } from '../../../src/transports/rabbitmq/index.ts'

/** A service that charges, and is stopped and started as often as a test likes. */
function service(count: number) {
  const broker = memoryBroker()
  const charges = new Map<string, number>()
  const billing = pipeline('billing')
    .use(idempotency({ store: memoryIdempotencyStore() }))
    .handle(({ message }) => void charges.set(message.id, (charges.get(message.id) ?? 0) + 1))
  const group = { broker, groupId: 'billing', topics: ['orders'], pipeline: billing }
  const publish = () =>
    broker
      .publisher()
      .publish(
        Array.from({ length: count }, (_, n) =>
          outgoing({ id: `m${n}`, destination: 'orders', key: `k${n % 20}`, body: null }),
        ),
      )
  /** Runs until everything is acked. Gives how the deliveries ended. */
  async function run(replay?: ReplayPlan) {
    const outcomes: string[] = []
    const unsubscribe = subscribe('settled', ({ outcome, delivery }) => {
      if (delivery.pipeline === 'billing') outcomes.push(outcome)
    })
    const stop = new AbortController()
    const running = memoryConsumer({ ...group, ...(replay !== undefined && { replay }) }).run(stop.signal)
    await expect.poll(() => broker.lag('billing', 'orders'), { interval: 5 }).toBe(0)
    stop.abort()
    await running
    unsubscribe()
    return outcomes
  }
  const most = () => Math.max(...charges.values())
  return { group, charges, publish, run, most }
}

const since = new Date(0)

it('PR-5: a replay in the same scope charges nobody twice: 3,000 of 3,000 are duplicates', async () => {
  const { group, publish, run, charges, most } = service(3000)
  await publish()
  await run()
  const { plan } = await memoryReplay({ ...group, from: since, scope: 'same' })
  const outcomes = await run(plan)
  expect(outcomes).toEqual(Array.from({ length: 3000 }, () => 'duplicate'))
  expect([charges.size, most()]).toEqual([3000, 1])
})

it('handles all of it again in a scope of its own, and once for each name', async () => {
  const { group, publish, run, most } = service(200)
  await publish()
  await run()
  for (const expected of ['handled', 'duplicate']) {
    const { plan } = await memoryReplay({ ...group, from: since, scope: { own: 'after the outage' } })
    expect(new Set(await run(plan))).toEqual(new Set([expected]))
  }
  expect(most()).toBe(2)
})

it('without its plan a group that was moved back handles nothing again', async () => {
  const { group, publish, run, most } = service(50)
  await publish()
  await run()
  await memoryReplay({ ...group, from: since, scope: { own: 'forgotten' } })
  expect(new Set(await run())).toEqual(new Set(['duplicate']))
  expect(most()).toBe(1)
})

it('takes a plan for its own group alone, and messages that came after it for new ones', async () => {
  const { group, publish, run } = service(10)
  await publish()
  await run()
  const { plan } = await memoryReplay({ ...group, from: since, scope: { own: 'x' } })
  expect(() => memoryConsumer({ ...group, groupId: 'other', replay: plan })).toThrow(
    "memory other: replay must be the plan of group 'other', got 'billing'",
  )
  // A topic that was made anew has the same positions: its messages are younger than the plan.
  const scopes: unknown[] = []
  const anew = service(10)
  const stop = new AbortController()
  const looking = pipeline('billing').handle(({ replayScope }) => void scopes.push(replayScope))
  await new Promise((resolve) => setTimeout(resolve, 5))
  await anew.publish()
  const running = memoryConsumer({ ...anew.group, pipeline: looking, replay: plan }).run(stop.signal)
  await expect.poll(() => scopes.length).toBe(10)
  stop.abort()
  await running
  expect(new Set(scopes)).toEqual(new Set([undefined]))
})

it('warns that sequence() passes a replay over', async () => {
  const { group, publish, run } = service(1)
  await publish()
  await run()
  const sequenced = { ...group.pipeline, stages: [...group.pipeline.stages, { name: 'sequence' }] }
  const { warnings } = await memoryReplay({
    ...group,
    pipeline: sequenced,
    from: since,
    scope: { own: 'x' },
    dryRun: true,
  })
  expect(warnings).toContain("sequence() calls messages of the replay 'stale' and does not hand them to the handler")
})

it('RabbitMQ has nothing to move back: its consumer takes no plan', () => {
  const options = { connection: {}, queues: ['q'], pipeline: {}, replay: {} } as unknown as RabbitmqConsumerOptions
  expect(() => rabbitmqConsumer(options)).toThrow(/unknown option 'replay'/)
})

it.each([
  [{ from: new Date('never') }, /from must be a valid date/],
  [{ from: { 'orders/99': 1 } }, /from must be positions of 'orders\/0'/],
  [{ from: { 'orders/0': -1 } }, /from\['orders\/0'\] must be a position/],
  [{ scope: 'both' }, /scope must be 'same', or an object/],
  [{ scope: { own: '' } }, /scope must be 'same', or an object/],
])('refuses %j', async (wrong, said) => {
  const { group } = service(0)
  const options = { ...group, from: since, scope: 'same', ...wrong } as unknown as MemoryReplayOptions
  await expect(memoryReplay(options)).rejects.toThrow(said)
})
