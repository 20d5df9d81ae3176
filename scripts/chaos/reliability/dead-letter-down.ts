import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import type pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { retry } from '../../../src/retry/retry.ts'
import { transaction } from '../../../src/stores/postgres/index.ts'
import { kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { readDeadLetters } from '../kafka/dead-letters.ts'
import { leaseMs, withKafkaRig } from '../kafka/rig.ts'
import { mortalSockets } from '../../../test/support/mortal-sockets.ts'
import type { Scenario } from '../scenario.ts'

const total = 2000

export const deadLetterDown: Scenario = {
  name: 'dead-letter-down',
  what: 'the network to the dead letters is cut for 5 minutes (shortened: 10 s) while every 20th message has to go there',
  promise:
    'the pipeline waits, loses nothing and drops nothing; afterwards every refused message is in the dead letters and every other one has its effect once',
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 100 }, async (rig) => {
      const downMs = how.full ? 300_000 : Math.max(10_000, how.minutes * 60_000)
      const network = mortalSockets()
      const producer = new kafkajs.Kafka({
        brokers: [...rig.brokers],
        logLevel: kafkajs.logLevel.NOTHING,
        socketFactory: network.factory,
        retry: { retries: 1, initialRetryTime: 50 },
      }).producer({ idempotent: true, maxInFlightRequests: 1 })
      await producer.connect()
      let failed = 0
      let settledMs = 0
      const ends = [
        subscribe('dead-letter-failed', ({ delivery }) => {
          if (delivery.pipeline === rig.name) failed++
        }),
        subscribe('dead-lettered', ({ delivery }) => {
          if (delivery.pipeline === rig.name) settledMs ||= performance.now()
        }),
      ]
      const bad = new Set<string>()
      const work = pipeline(rig.name)
        .use(rig.counted)
        .use(deadLetter({ to: kafkajsPublisher(producer, { timeoutMs: 2000 }), destination: rig.deadLetters }))
        .use(idempotency({ store: rig.store, leaseMs }))
        .use(retry())
        .use(transaction<pg.PoolClient>(rig.work))
        .handle(async (delivery) => {
          await sleep(5)
          if (bad.has(delivery.message.id)) throw new PermanentError('never')
          await rig.effect(delivery)
        })
      for (let n = 0; n < total; n++) if (rig.random() < 0.05) bad.add(`m${n}`)
      await rig.produce(total)
      try {
        rig.start(work)
        await rig.until('some effects', async () => (await rig.effects()) > 100 + rig.random() * 400)
        network.down()
        await sleep(downMs, undefined, { signal: how.signal })
        const waiting = await rig.lag()
        network.up()
        settledMs = 0
        const backMs = performance.now()
        await rig.settle(total - bad.size)
        const letters = (await readDeadLetters(rig.kafka, rig.deadLetters)).map(({ message }) => message.id)
        const dead = new Set(letters)
        const wrong = [...dead].filter((id) => !bad.has(id))
        return {
          injected: { 'times the dead letters took nothing': failed },
          ...(await rig.figures(dead)),
          recoveryMs: settledMs === 0 ? null : settledMs - backMs,
          violations: [
            ...(waiting > 0 ? [] : ['nothing waited for the dead letters']),
            ...wrong.map((id) => `${id} was dead-lettered for no reason`),
          ],
          notes: `${waiting} messages waited at the end of it; ${letters.length} dead letters for ${bad.size} messages`,
        }
      } finally {
        for (const end of ends) end()
        network.up()
        await producer.disconnect().catch(() => {})
      }
    }),
}
