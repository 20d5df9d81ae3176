import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { retry } from '../../../src/retry/retry.ts'
import { transaction } from '../../../src/stores/postgres/index.ts'
import { kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { leaseMs, withKafkaRig } from '../kafka/rig.ts'
import { readTopic } from '../kafka/topics.ts'
import type { Scenario } from '../scenario.ts'

const budgetBytes = 16_384
const ours = 'holdfast-dead-'

export const bigError: Scenario = {
  name: 'big-error',
  what: 'handlers throw errors with a message of 1 MB, a stack as long and a hundred causes of that size',
  promise: `each is dead-lettered with its bytes, key and headers untouched and at most ${budgetBytes} bytes said about it`,
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 20 }, async (rig) => {
      const total = how.full ? 2000 : 200
      const text = 'ä€'.repeat(200_000)
      const bodies = new Map<string, Buffer>()
      const bad = new Set<string>()
      let thrown = 0
      const work = pipeline(rig.name)
        .use(rig.counted)
        .use(
          deadLetter({
            ...{ to: kafkajsPublisher(rig.producer), destination: rig.deadLetters },
            ...{ includeStack: true, maxMetadataBytes: budgetBytes },
          }),
        )
        .use(idempotency({ store: rig.store, leaseMs }))
        .use(retry({ maxAttempts: 2, backoff: () => 10 }))
        .use(transaction<pg.PoolClient>(rig.work))
        .handle(async (delivery) => {
          if (!bad.has(delivery.message.id)) return rig.effect(delivery)
          thrown++
          throw bigErrorOf(text)
        })
      await rig.produce(total, (message, n) => {
        if (rig.random() < 0.2) bad.add(`m${n}`)
        const value = randomBytes(Math.floor(rig.random() * 20_000))
        bodies.set(`m${n}`, value)
        return { ...message, value, headers: { ...message.headers, raw: value.subarray(0, 100) } }
      })
      rig.start(work)
      await rig.settle(total - bad.size)
      const letters = await readTopic(rig.kafka, rig.deadLetters)
      const dead = new Set<string>()
      const violations: string[] = []
      let largest = 0
      for (const { message } of letters) {
        const { 'message-id': id, raw, ...others } = message.headers ?? {}
        const name = String(id)
        dead.add(name)
        const body = bodies.get(name)
        if (body === undefined || !bad.has(name)) violations.push(`${name} was dead-lettered for no reason`)
        else if (message.value?.equals(body) !== true) violations.push(`the bytes of ${name} have changed`)
        else if (!Buffer.from(raw as Buffer).equals(body.subarray(0, 100)))
          violations.push(`a header of ${name} has changed`)
        const said = Object.entries(others).filter(([header]) => header.startsWith(ours))
        const bytes = said.reduce((sum, [header, value]) => sum + header.length + Buffer.byteLength(String(value)), 0)
        largest = Math.max(largest, bytes)
        if (bytes > budgetBytes) violations.push(`${bytes} bytes are said about ${name}`)
      }
      return {
        injected: { 'errors of 1 MB thrown': thrown },
        ...(await rig.figures(dead)),
        recoveryMs: null,
        violations,
        notes: `${letters.length} dead letters for ${bad.size} messages; at most ${largest} bytes said about one`,
      }
    }),
}

function bigErrorOf(text: string): Error {
  let error = new Error(text)
  // One text shared by all: what is big is what a naive printer would make of it.
  for (let n = 0; n < 100; n++) error = new Error(text, { cause: error })
  return error
}
