import type { Message } from 'kafkajs'
import type { Does, WorkerSettings } from '../kafka/worker.ts'
import { withKafkaRig } from '../kafka/rig.ts'
import { readDeadLetters } from '../kafka/dead-letters.ts'
import { aliveUntilDone, prepareCalls } from '../kafka/alive.ts'
import type { Scenario } from '../scenario.ts'

const maxAttempts = 3

export const poison: Scenario = {
  name: 'poison',
  what: 'messages that fail at every attempt, that are refused for good, and that kill their process with -9, among good ones of the same keys',
  promise: `each is dead-lettered after at most ${maxAttempts} starts (those that one process died in count as one), at worst with what ran beside it in a process that it killed; everything else has its effect once and in order`,
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 60 }, async (rig) => {
      await prepareCalls(rig.work, rig.name)
      const settings: WorkerSettings = {
        ...{
          brokers: rig.brokers,
          topic: rig.name,
          deadLetters: rig.deadLetters,
          postgresUrl: rig.postgresUrl,
          schema: rig.name,
        },
        ...{ maxAttempts, backoffMs: 50, failing: false },
      }
      const bad = new Map<string, Does>()
      const pick = (): Does | undefined => {
        const dice = rig.random()
        return dice < 0.01 ? 'throw' : dice < 0.02 ? 'refuse' : undefined
      }
      const total = how.full ? 20_000 : 1500
      const killers = new Set(Array.from({ length: how.full ? 30 : 3 }, () => Math.floor(rig.random() * total)))
      await rig.produce(total, (message, n): Message => {
        const does = killers.has(n) ? 'kill' : pick()
        if (does === undefined) return message
        bad.set(`m${n}`, does)
        return { ...message, headers: { ...message.headers, does } }
      })

      const { died } = await aliveUntilDone(rig, settings)
      const letters = await readDeadLetters(rig.kafka, rig.deadLetters)
      const dead = new Set(letters.map(({ message }) => message.id))
      const handled = await rig.handled()
      const ids = Array.from({ length: rig.produced }, (_, n) => `m${n}`)
      const { rows } = await rig.work.query<{ id: string; starts: string }>(
        `select id, sum(starts) as starts
         from (select id, case when pid = any($2::int[]) then 1 else count(*) end as starts from ${rig.name}.calls group by id, pid) counted
         group by id having sum(starts) > $1`,
        [maxAttempts, died],
      )
      const beside = ids.filter((id) => dead.has(id) && !bad.has(id))
      const numberOf = (does: Does): number => [...bad.values()].filter((each) => each === does).length
      return {
        injected: {
          'messages that fail at every attempt': numberOf('throw'),
          'messages refused for good': numberOf('refuse'),
          'messages that kill': numberOf('kill'),
          'processes killed by them': died.length,
        },
        ...(await rig.figures(dead)),
        recoveryMs: null,
        violations: [
          ...rows.map(({ id, starts }) => `${id} was started ${starts} times`),
          ...[...bad.keys()].filter((id) => handled.has(id)).map((id) => `${id} had an effect`),
          ...ids.filter((id) => dead.has(id) && handled.has(id)).map((id) => `${id} had an effect and a dead letter`),
        ],
        notes: `${dead.size} dead-lettered, ${beside.length} of them good ones that ran beside a killer; ${letters.length - dead.size} dead letters came twice`,
      }
    }),
}
