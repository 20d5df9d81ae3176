import { expect, it } from 'vitest'
import { fakeClock } from '../../../src/testing/index.ts'
import { FetchTroubles } from '../../../src/transports/platformatic-kafka/fetch-troubles.ts'
import { Topology } from '../../../src/transports/platformatic-kafka/topology.ts'
import type { FoundTopics } from '../../../src/transports/platformatic-kafka/wire.ts'

/** Brokers that refuse some topics, as the client words it. */
function bench(...topics: string[]) {
  const clock = fakeClock()
  const events: string[] = []
  const refusals = new Map<string, string>()
  let asked = 0
  const troubles = new FetchTroubles(
    ({ message }) => events.push(message),
    () => events.push('recovered'),
  )
  const found = async (): Promise<FoundTopics> => {
    asked++
    const known = topics.filter((topic) => !refusals.has(topic))
    const refused = new Map([...refusals].map(([topic, apiId]) => [topic, answer(apiId)]))
    return { brokers: new Map(), topics: new Map(known.map((topic) => [topic, place])), refused }
  }
  const topology = new Topology({ found, forget: () => {} }, topics, troubles, clock)
  return { clock, events, refusals, troubles, topology, asked: () => asked }
}

const place = { id: 'id', partitions: [], partitionsCount: 0, lastUpdate: 0 }

function answer(apiId: string): Error {
  const text = 'Received response with error while executing API Metadata(v12)'
  return new AggregateError([Object.assign(new Error('Not authorized.'), { apiId })], text)
}

it('a topic whose rights are withdrawn shows with the cause, the others go on, and it recovers by itself', async () => {
  const { clock, events, refusals, troubles, topology } = bench('orders', 'mail')
  await topology.look()
  expect(troubles.problem).toBeUndefined()
  refusals.set('orders', 'TOPIC_AUTHORIZATION_FAILED')
  topology.forget()
  expect([...(await topology.look()).topics.keys()]).toEqual(['mail'])
  await clock.advance(1_000)
  await topology.look()
  expect(troubles.problem).toBe("messages cannot be fetched from topic 'orders': TOPIC_AUTHORIZATION_FAILED")
  refusals.clear()
  await clock.advance(1_000)
  await topology.look()
  expect(troubles.problem).toBeUndefined()
  expect(events).toEqual(['TOPIC_AUTHORIZATION_FAILED', 'recovered'])
})

it('a topic that has no leader for a moment is no trouble', async () => {
  const { clock, events, refusals, topology } = bench('orders')
  refusals.set('orders', 'LEADER_NOT_AVAILABLE')
  await topology.look()
  refusals.clear()
  await clock.advance(1_000)
  await topology.look()
  expect(events).toEqual([])
})

it('does not ask before every fetch while a topic is missing', async () => {
  const { clock, refusals, topology, asked } = bench('orders', 'mail')
  refusals.set('mail', 'UNKNOWN_TOPIC_OR_PARTITION')
  for (let n = 0; n < 5; n++) await topology.look()
  expect(asked()).toBe(1)
  await clock.advance(1_000)
  await topology.look()
  expect(asked()).toBe(2)
})
