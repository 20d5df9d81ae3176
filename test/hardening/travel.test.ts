import { EventEmitter } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Channel } from 'amqplib'
import { Kafka, logLevel, type Consumer as KafkaConsumer, type EachBatchPayload } from 'kafkajs'
import { expect, it } from 'vitest'
import { logConsumer } from '../../src/consumer/log/log-consumer.ts'
import { systemClock } from '../../src/core/clock.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { kafkajsClient } from '../../src/transports/kafkajs/client.ts'
import { rabbitmqConsumer } from '../../src/transports/rabbitmq/index.ts'
import { directionsOf, filesOnTheWay } from './travel.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/how-a-message-travels.md'), 'utf8')

/** A way is as the page tells it: no file is left and entered again, and those of the page come in its order. */
function expectAsTold(trip: string, way: string, files: readonly string[]): void {
  const told = directionsOf(page)
    .find((each) => each.trip === trip && each.way === way)
    ?.steps.map(({ file }) => file)
  expect(files).toEqual([...new Set(files)])
  const known = files.filter((file) => told?.includes(file))
  expect(known.length).toBeGreaterThan(1)
  expect(known).toEqual(told?.filter((file) => files.includes(file)))
}

const raw = {
  content: Buffer.from('{}'),
  fields: { deliveryTag: 1, redelivered: false, exchange: '', routingKey: 'orders', consumerTag: 'c' },
  properties: { headers: { 'message-id': 'm', 'message-key': 'ada' } },
}

it('a RabbitMQ message enters each file once on its way to the handler, and once on its way back', async () => {
  const ways: (readonly string[])[] = []
  const acked = Promise.withResolvers<unknown>()
  const channel = Object.assign(new EventEmitter(), {
    prefetch: async () => {},
    async consume(_queue: string, onMessage: (message: typeof raw) => void, options?: object) {
      if (options !== undefined) setImmediate(() => onMessage(raw))
      return { consumerTag: 'c' }
    },
    ack() {
      ways.push(filesOnTheWay())
      acked.resolve(undefined)
    },
    close: async () => void channel.emit('close'),
  })
  const connection = Object.assign(new EventEmitter(), { createChannel: async () => channel as unknown as Channel })
  const stop = new AbortController()
  const running = rabbitmqConsumer({
    connection,
    queues: ['orders'],
    checkQueues: false,
    pipeline: pipeline('travel').handle(() => void ways.push(filesOnTheWay())),
  }).run(stop.signal)
  await acked.promise
  stop.abort()
  await running
  const [there = [], back = []] = ways
  expect(there.at(0)).toBe('transports/rabbitmq/queue-holder.ts')
  expect(there.at(-1)).toBe('core/pipeline.ts')
  expectAsTold('A RabbitMQ message and its ack', 'To the handler', there)
  expectAsTold('A RabbitMQ message and its ack', 'Back', back)
})

it('a Kafka message enters each file once on its way to the handler', async () => {
  const events = new EventEmitter()
  const handled = Promise.withResolvers<readonly string[]>()
  const kafka = new Kafka({ brokers: ['127.0.0.1:1'], logLevel: logLevel.NOTHING, retry: { retries: 0 } })
  const { events: names } = kafka.consumer({ groupId: 'billing' })
  const payload = {
    batch: {
      ...{ topic: 'orders', partition: 0, fetchedOffset: '0', highWatermark: '1' },
      messages: [{ offset: '0', key: Buffer.from('ada'), value: null, timestamp: '1', headers: {}, attributes: 0 }],
      firstOffset: () => '0',
      lastOffset: () => '0',
    },
    resolveOffset: () => {},
    heartbeat: async () => {},
    commitOffsetsIfNecessary: async () => {},
  } as unknown as EachBatchPayload
  const consumer = {
    events: names,
    on: (name: string, listener: (event: object) => void) => void events.on(name, listener),
    connect: async () => {},
    subscribe: async () => {},
    async run({ eachBatch }: { eachBatch: (payload: EachBatchPayload) => Promise<void> }) {
      events.emit(names.GROUP_JOIN, { payload: { memberId: 'a', memberAssignment: { orders: [0] } } })
      setImmediate(() => void eachBatch(payload))
    },
    pause: () => {},
    resume: () => {},
    disconnect: async () => {},
  } as unknown as KafkaConsumer
  const client = kafkajsClient({
    kafka: { consumer: () => consumer, admin: () => kafka.admin({ retry: { retries: 0 } }) },
    ...{ topics: ['orders'], groupId: 'billing', settings: {}, startFrom: 'earliest', id: undefined },
    ...{ sessionMs: 30_000, rebalanceMs: 60_000, heartbeatMs: 3_000, maxWaitMs: 100, clock: systemClock },
    missingIds: { seen: () => {} },
  })
  const stop = new AbortController()
  const running = logConsumer({
    client: { ...client, check: async () => {} },
    group: 'billing',
    pipeline: pipeline('travel').handle(() => handled.resolve(filesOnTheWay())),
  }).run(stop.signal)
  const there = await handled.promise
  stop.abort()
  await running
  expect(there.at(0)).toBe('transports/kafkajs/managed-membership.ts')
  expect(there.at(-1)).toBe('core/pipeline.ts')
  expectAsTold('A Kafka message and its commit', 'To the handler', there)
})
