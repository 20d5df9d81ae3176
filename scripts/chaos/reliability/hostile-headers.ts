import type pg from 'pg'
import { isDeepStrictEqual } from 'node:util'
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { headersFrom, type Headers } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { retry } from '../../../src/retry/retry.ts'
import { transaction } from '../../../src/stores/postgres/index.ts'
import { tracing } from '../../../src/tracing/index.ts'
import { kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { readDeadLetters } from '../kafka/dead-letters.ts'
import { leaseMs, withKafkaRig } from '../kafka/rig.ts'
import { hostileHeaders } from '../../../test/support/hostile-headers.ts'
import type { Scenario } from '../scenario.ts'

// kafkajs copies all headers read so far for each further one: ten thousand of them block it for longer than a session.
const kinds: typeof hostileHeaders = [
  ...hostileHeaders.filter(([what]) => what !== 'ten thousand headers'),
  ['a thousand headers', headersFrom(Array.from({ length: 1000 }, (_, n): [string, string] => [`h${n}`, 'v']))],
]

export const hostileHeadersRow: Scenario = {
  name: 'hostile-headers',
  what: 'headers that strangers send: __proto__ and constructor, 64 KB of baggage, a thousand names, bytes that are no text, repeats, a broken traceparent, forged marks of a dead letter',
  promise:
    'every message has its effect once or is dead-lettered with the headers that came; none is lost, and no prototype changes',
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 20 }, async (rig) => {
      const rounds = how.full ? 100 : 5
      const provider = new NodeTracerProvider()
      provider.register()
      const prototypes = (): string[] =>
        [Object.prototype, Array.prototype].flatMap((one) => Object.getOwnPropertyNames(one))
      const before = prototypes()
      const bad = new Set<string>()
      const seen = new Map<string, Headers>()
      const violations: string[] = []
      const work = pipeline(rig.name)
        .use(tracing())
        .use(rig.counted)
        .use(deadLetter({ to: kafkajsPublisher(rig.producer), destination: rig.deadLetters }))
        .use(idempotency({ store: rig.store, leaseMs }))
        .use(retry())
        .use(transaction<pg.PoolClient>(rig.work))
        .handle(async (delivery) => {
          const { id, headers } = delivery.message
          seen.set(id, headers)
          if (Object.getPrototypeOf(headers) !== null) violations.push(`the headers of ${id} have a prototype`)
          if (bad.has(id)) throw new PermanentError('never')
          await rig.effect(delivery)
        })
      const all = Array.from({ length: rounds * kinds.length }, (_, n) => {
        if (rig.random() < 0.5) bad.add(`m${n}`)
        const [, headers] = kinds[n % kinds.length] ?? ['', {}]
        return outgoing({ destination: rig.name, id: `m${n}`, key: `key-${n % 7}`, body: Buffer.from('x'), headers })
      })
      await rig.publish(all)
      rig.start(work)
      await rig.settle(rig.produced - bad.size)
      const letters = await readDeadLetters(rig.kafka, rig.deadLetters)
      for (const { message } of letters)
        if (!isDeepStrictEqual(withoutMarks(message.headers), withoutMarks(seen.get(message.id))))
          violations.push(`the headers of ${message.id} are not those that came`)
      if (!isDeepStrictEqual(prototypes(), before)) violations.push('a prototype has changed')
      await provider.shutdown()
      return {
        injected: Object.fromEntries(kinds.map(([what], kind) => [what, countOf(seen, kind)])),
        ...(await rig.figures(letters.map(({ message }) => message.id))),
        recoveryMs: null,
        violations,
        notes: `${letters.length} dead-lettered of ${bad.size} that were refused`,
      }
    }),
}

function countOf(seen: ReadonlyMap<string, Headers>, kind: number): number {
  return [...seen.keys()].filter((id) => Number(id.slice(1)) % kinds.length === kind).length
}

/** Marks from outside are overwritten by ours, and a dead letter keeps its count and its history. */
function withoutMarks(headers: Headers = {}): Headers {
  return headersFrom(Object.entries(headers).filter(([name]) => !name.startsWith('holdfast-dead-')))
}
