import type { Message } from 'kafkajs'
import { aliveUntilDone, prepareCalls } from '../kafka/alive.ts'
import { readDeadLetters } from '../kafka/dead-letters.ts'
import { withKafkaRig, type KafkaRig } from '../kafka/rig.ts'
import type { WorkerSettings } from '../kafka/worker.ts'
import type { Scenario } from '../scenario.ts'

const maxAttempts = 3
/** Small, so that members are certain soon after each join. */
const ahead = 8
const killers = 4

export const claimInsideKafka: Scenario = {
  name: 'claim-inside-kafka',
  what: 'two consumers of Kafka claim inside the transaction of the handler what they know to be the first delivery; they are killed with -9 in mid work, and by messages that kill every process that handles them',
  promise: `effects once, nothing lost; no message is called the first that another process has started; one that kills is dead-lettered after at most ${maxAttempts + 1} starts`,
  needs: ['kafka', 'postgres'],
  breaks: { 'every-is-first': 'every delivery is called the first: what dies with its process counts nothing' },
  run: (how) =>
    withKafkaRig(how, { partitions: 3, keys: 120 }, async (rig) => {
      await prepareCalls(rig.work, rig.name)
      const settings: WorkerSettings = {
        ...{ brokers: rig.brokers, topic: rig.name, deadLetters: rig.deadLetters },
        ...{ postgresUrl: rig.postgresUrl, schema: rig.name, maxAttempts, backoffMs: 50, failing: false },
        inside: { ahead, everyIsFirst: how.broken === 'every-is-first' },
      }
      const total = how.full ? 20_000 : 3_000
      // Not at the beginning, where nothing is the first by the bound.
      const bad = new Set(Array.from({ length: killers }, () => Math.floor(total * (0.2 + 0.7 * rig.random()))))
      await rig.produce(total, (message, n): Message =>
        bad.has(n) ? { ...message, headers: { ...message.headers, does: 'kill' } } : message,
      )
      const { died, killed } = await aliveUntilDone(rig, settings, { killEveryMs: how.full ? 8_000 : 4_000 })
      const letters = await readDeadLetters(rig.kafka, rig.deadLetters)
      const dead = new Set(letters.map(({ message }) => message.id))
      const { firsts, again, starts } = await callsOf(rig)
      return {
        injected: {
          'kill -9': killed,
          'processes killed by their message': died.length - killed,
          'first deliveries claimed inside': firsts,
        },
        ...(await rig.figures(dead)),
        recoveryMs: null,
        violations: [
          ...(again === 0 ? [] : [`${again} messages were called the first though another process had started them`]),
          ...[...bad].flatMap((n) => {
            const times = starts.get(`m${n}`) ?? 0
            return times <= maxAttempts + 1 ? [] : [`m${n}, which kills, was started ${times} times`]
          }),
        ],
        notes: `${firsts} of ${rig.produced} were claimed inside; ${dead.size} dead-lettered, ${bad.size} of them kill, the others ran beside one`,
      }
    }),
}

async function callsOf({ work, name }: KafkaRig) {
  const { rows } = await work.query<{ firsts: string; again: string }>(
    `select count(distinct id) filter (where first) as firsts,
       (select count(distinct later.id) from ${name}.calls later join ${name}.calls earlier using (id)
        where later.first and earlier.seq < later.seq and earlier.pid <> later.pid) as again
     from ${name}.calls`,
  )
  const counted = await work.query<{ id: string; starts: string }>(
    `select id, count(distinct pid) as starts from ${name}.calls group by id`,
  )
  return {
    firsts: Number(rows[0]?.firsts),
    again: Number(rows[0]?.again),
    starts: new Map(counted.rows.map(({ id, starts }) => [id, Number(starts)])),
  }
}
