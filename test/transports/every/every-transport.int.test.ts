import { SpanKind } from '@opentelemetry/api'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { z } from 'zod'
import {
  headersFrom,
  json,
  outgoing,
  pipeline,
  publisher,
  resilient,
  RetryLater,
  type Outgoing,
  type Pipeline,
} from 'holdfast'
import { readDeadLetter } from 'holdfast/dead-letters'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { metrics, processMetrics } from 'holdfast/metrics'
import { outboxRelay } from 'holdfast/outbox'
import { postgresOutboxStore } from 'holdfast/postgres'
import { tracedPublish, tracing } from 'holdfast/tracing'
import { scrape } from '../../metrics/support.ts'
import { outboxDatabase } from '../../outbox/support.ts'
import { describeWith, postgresUrl } from '../../support/services.ts'
import { linksOf, parentOf, withSdk } from '../../tracing/support.ts'
import { until } from '../kafkajs/support.ts'
import { transports, type OpenTransport } from './brokers.ts'

// On Pulsar: ledger, entry, and place in the entry.
const firstPosition: Readonly<Record<string, RegExp>> = { kafka: /^0$/, amqp: /^0$/, pulsar: /^\d+:0:0$/ }

const lanesIn = (state: string): string => `holdfast_lanes{part="orders",state="${state}"}`

for (const transport of transports)
  describeWith([transport.service, 'postgres'], `what every transport has, on ${transport.name}`, () => {
    const sdk = withSdk()
    let open: OpenTransport
    let stops: (() => Promise<void>)[] = []
    beforeEach(async () => {
      open = await transport.open()
      stops = []
    })
    afterEach(async () => {
      for (const stop of stops) await stop()
      await open.dispose()
    })

    function start(handled: Pipeline) {
      const stopping = new AbortController()
      const consumer = open.consumer(handled)
      const ended = consumer.run(stopping.signal)
      ended.catch(() => {})
      const stop = async (): Promise<void> => {
        stopping.abort()
        await ended
      }
      stops.push(stop)
      return { consumer, stop }
    }

    const numbered = (count: number): Outgoing[] =>
      Array.from({ length: count }, (_, n) =>
        outgoing({ destination: open.topic, id: `m${n}`, key: `k${n % 7}`, body: Buffer.from(`{"n":${n}}`) }),
      )

    it('the outbox relay publishes to it, each key in its order', async () => {
      const db = await outboxDatabase(postgresUrl())
      const stop = new AbortController()
      try {
        const count = 1_000
        await db.pool.query(
          `insert into outbox (topic, key, type, message_id, payload)
           select $1, 'k' || n % 7, 't', n::text, convert_to('{}', 'utf8') from generate_series(1, ${count}) n`,
          [open.topic],
        )
        const store = postgresOutboxStore(db.pool, { schema: db.schema })
        const running = outboxRelay({ store, publisher: open.publisher, batchRows: 100 }).run(stop.signal)
        const seen: { readonly key: string | null; readonly n: number }[] = []
        start(pipeline('relayed').handle(({ message: { id, key } }) => void seen.push({ key, n: Number(id) })))
        await until('all of them', () => new Set(seen.map(({ n }) => n)).size === count, 40_000)
        stop.abort()
        await running
        for (let key = 0; key < 7; key++) {
          const mine = [...new Set(seen.filter((each) => each.key === `k${key}`).map(({ n }) => n))]
          expect(mine).toEqual(Array.from({ length: count }, (_, n) => n + 1).filter((n) => n % 7 === key))
        }
      } finally {
        stop.abort()
        await db.dispose()
      }
    })

    it('dead letters go to it untouched, and good messages are handled beside null, empty, large and hostile ones', async () => {
      const handled: string[] = []
      const orders = resilient('orders', {
        codec: json(z.object({ n: z.number() })),
        store: memoryIdempotencyStore(),
        deadLetters: open.publisher,
        log: false,
        deadLetterDestination: open.deadLetterTopic,
      }).handle(({ message }) => void handled.push(message.id))
      start(orders)
      const hostile = headersFrom([
        ['__proto__', 'plain'],
        ['constructor', new Uint8Array([0xff, 0, 0x80])],
        ['lines', ' two\r\nlines: \u0000 \u{1f4a3} '],
        ['many', ['a', '', 'c']],
        ['holdfast-dead-reason', 'forged'],
        ['large', 'x'.repeat(8_000)],
      ])
      const bad: Outgoing[] = [
        outgoing({ destination: open.topic, id: 'null', key: 'a', body: null }),
        outgoing({ destination: open.topic, id: 'empty', key: 'a', body: new Uint8Array() }),
        outgoing({ destination: open.topic, id: 'cut', key: 'b', headers: hostile, body: Buffer.from('{"n":') }),
        outgoing({ destination: open.topic, id: 'bytes', key: null, body: new Uint8Array([0xff, 0xfe, 0, 0x80]) }),
        outgoing({ destination: open.topic, id: 'large', key: 'ü', body: Buffer.alloc(900_000, 'y') }),
      ]
      await open.publisher.publish([...bad, ...numbered(20)])
      await until('the good ones', () => handled.length === 20)
      await until('the bad ones', async () => (await open.deadLetters()).length === bad.length)
      const found = new Map((await open.deadLetters()).map((letter) => [letter.id, letter]))
      for (const { id, key, body, headers } of bad) {
        const letter = found.get(id)
        expect({ id, key: letter?.key, body: letter?.body && [...letter.body] }).toEqual({
          ...{ id, key, body: body && [...body] },
        })
        for (const [name, value] of Object.entries(headers))
          if (name !== 'holdfast-dead-reason')
            expect([name, plain(letter?.headers[name])]).toEqual([name, plain(value)])
        const { origin, reason } = readDeadLetter(letter ?? outgoing({ destination: '', body: null }))?.metadata ?? {}
        expect(reason).toBe('undecodable')
        expect(origin).toMatchObject({ system: transport.system, destination: open.topic })
      }
    })

    it('handles a message without an id under one of its own, and says so in health()', async () => {
      const ids: string[] = []
      const { consumer } = start(pipeline('plain').handle(({ message }) => void ids.push(message.id)))
      await open.sendPlain('{}')
      await until('the message', () => ids.length === 1)
      expect(ids[0]).not.toBe('')
      expect(consumer.health().details['notes']).toEqual([
        expect.stringMatching(/ has messages without an id: .*Set .* when publishing$/),
      ])
    })

    it('counts what runs, what waits behind it, and what is held', async () => {
      const registry = new Registry()
      const running = Promise.withResolvers<void>()
      let isHeld = true
      const { consumer } = start(
        pipeline('counted')
          .use(metrics({ registry }))
          .handle(async ({ message }) => {
            if (message.id === 'runs') await running.promise
            if (message.id === 'held' && isHeld) throw new RetryLater(200)
          }),
      )
      processMetrics({ registry, parts: { orders: consumer } })
      const shown = async (counts: Readonly<Record<string, number>>): Promise<boolean> => {
        const lines = await scrape(registry)
        return Object.entries(counts).every(([state, count]) => lines[lanesIn(state)] === count)
      }
      const sent = [
        { id: 'runs', key: 'a' },
        { id: 'behind', key: 'a' },
        { id: 'held', key: 'b' },
      ]
      const body = Buffer.from('{}')
      await open.publisher.publish(sent.map((each) => outgoing({ destination: open.topic, body, ...each })))
      await until('one runs and one is held', () => shown({ 'in-flight': 1, held: 1, buffered: 3, abandoned: 0 }))
      isHeld = false
      running.resolve()
      await until('all are done', () => shown({ 'in-flight': 0, held: 0, buffered: 0, abandoned: 0 }))
      expect(await scrape(registry)).toMatchObject({
        'holdfast_deliveries_total{pipeline="counted",outcome="handled"}': sent.length,
        'holdfast_in_flight{pipeline="counted"}': 0,
        'holdfast_part_ready{part="orders"}': 1,
      })
    })

    it('traces and counts a message by the names of its system', async () => {
      const registry = new Registry()
      processMetrics({ registry })
      const seen: { readonly partition: string | null; readonly position: string | null }[] = []
      const { consumer, stop } = start(
        pipeline('traced')
          .use(tracing())
          .use(metrics({ registry }))
          .handle(({ origin }) => void seen.push(origin)),
      )
      await publisher(open.publisher)
        .use(tracedPublish({ system: transport.system }))
        .publish([outgoing({ destination: open.topic, id: 'one', key: 'k', body: Buffer.from('{}') })])
      await until('the message', () => seen.length === 1)
      await until('its span', () => sdk.spans().some(({ kind }) => kind === SpanKind.CONSUMER))
      expect(consumer.health()).toMatchObject({ live: true, ready: true })
      await stop()

      const [send] = sdk.spans().filter(({ kind }) => kind === SpanKind.PRODUCER)
      const [process] = sdk.spans().filter(({ kind }) => kind === SpanKind.CONSUMER)
      if (send === undefined || process === undefined) throw new Error('a span is missing')
      expect([send.name, process.name]).toEqual([`send ${open.topic}`, `process ${open.topic}`])
      expect(send.attributes).toMatchObject({ 'messaging.system': transport.system, 'messaging.message.id': 'one' })
      expect(parentOf(process)).toBe(send.spanContext().spanId)
      expect(linksOf(process)).toEqual([send.spanContext().spanId])
      const [origin] = seen
      // The first of its log, its ledger, its stream, its channel and its link.
      expect(origin?.position).toMatch(firstPosition[transport.system] ?? /^1$/)
      const { [`holdfast.dwell_ms`]: _, ...attributes } = process.attributes
      expect(attributes).toEqual({
        'messaging.system': transport.system,
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.destination.name': open.topic,
        // AMQP 1.0 has none.
        ...(transport.system === 'amqp' ? {} : { 'messaging.destination.partition.id': origin?.partition }),
        'messaging.consumer.group.name': expect.any(String) as string,
        'messaging.message.id': 'one',
        'messaging.message.body.size': 2,
        'holdfast.pipeline': 'traced',
        'holdfast.attempt': 1,
        'holdfast.outcome': 'handled',
        ...ofSystem(transport.system, open.topic, origin),
      })

      const lines = await scrape(registry)
      const counted = Object.entries(lines).filter(([line]) => line.includes('traced'))
      expect(counted.some(([line, count]) => line.includes('outcome="handled"') && count === 1)).toBe(true)
      const changes = Object.entries(lines).filter(([line]) => line.includes(`system="${transport.system}"`))
      expect(changes.some(([line, count]) => line.includes('change="joined"') && count > 0)).toBe(true)
    })
  })

/** What the conventions want of one system alone. */
function ofSystem(
  system: string,
  topic: string,
  origin: { readonly partition: string | null; readonly position: string | null } | undefined,
): Readonly<Record<string, unknown>> {
  if (system === 'kafka') return { 'messaging.kafka.offset': Number(origin?.position) }
  if (system !== 'rabbitmq') return {}
  const routingKey = origin?.partition?.split('.').at(-1)
  return {
    'messaging.destination.name': `${topic}:${routingKey}:${origin?.partition}`,
    'messaging.rabbitmq.destination.routing_key': routingKey,
    'messaging.rabbitmq.message.delivery_tag': Number(origin?.position),
  }
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  return Array.isArray(value) ? value.map(plain) : value
}
