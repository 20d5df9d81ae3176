import { prepareCalls } from '../kafka/alive.ts'
import type { WorkerSettings } from '../kafka/worker.ts'
import { withKafkaRig } from '../kafka/rig.ts'
import { spawnChild, type Child } from '../../../test/support/child.ts'
import type { Scenario } from '../scenario.ts'

const perRound = 8

export const sigtermInBackoff: Scenario = {
  name: 'sigterm-in-backoff',
  what: 'a process gets SIGTERM while its retries sleep for ten minutes',
  promise:
    'it ends within seconds and in good order, calls no handler again, and the next process has every effect once',
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 1000 }, async (rig) => {
      const rounds = how.full ? 50 : 4
      await prepareCalls(rig.work, rig.name)
      const workers = new Set<Child>()
      const start = (failing: boolean): Child => {
        const settings: WorkerSettings = {
          ...{ brokers: rig.brokers, topic: rig.name, deadLetters: rig.deadLetters },
          ...{ postgresUrl: rig.postgresUrl, schema: rig.name },
          ...{ maxAttempts: 5, backoffMs: 600_000, failing },
        }
        const worker = spawnChild('scripts/chaos/kafka/worker.ts', { args: [JSON.stringify(settings)] })
        workers.add(worker)
        return worker
      }
      const violations: string[] = []
      let sleeping = 0
      let slowestMs = 0
      let recoveryMs = 0
      try {
        for (let round = 0; round < rounds; round++) {
          // Keys of their own, so that all of them run and sleep at once.
          await rig.produce(perRound, (message, n) => ({ ...message, key: `key-${n}` }))
          const failing = start(true)
          await failing.count('called', perRound)
          const fromMs = performance.now()
          failing.kill('SIGTERM')
          const { code, signal } = await failing.exited
          slowestMs = Math.max(slowestMs, performance.now() - fromMs)
          if (code !== 0) violations.push(`it ended with ${signal ?? code}`)
          const { rows } = await rig.work.query<{ id: string; calls: string }>(
            `select id, count(*) as calls from ${rig.name}.calls where pid = $1 group by id`,
            [failing.pid],
          )
          sleeping += rows.length
          for (const { id, calls } of rows) if (Number(calls) > 1) violations.push(`${id} was called ${calls} times`)
          const overMs = performance.now()
          const next = start(false)
          await next.line('called')
          await rig.until('an effect', async () => (await rig.effects()) > round * perRound)
          recoveryMs = Math.max(recoveryMs, performance.now() - overMs)
          await rig.until('all effects', async () => (await rig.effects()) === rig.produced)
          next.kill('SIGTERM')
          await next.exited
        }
      } finally {
        await Promise.all([...workers].map((worker) => worker.dispose()))
      }
      return {
        injected: { SIGTERM: rounds, 'retries that slept': sleeping },
        ...(await rig.figures()),
        recoveryMs,
        violations,
        notes: `the process was gone ${Math.round(slowestMs)} ms after its SIGTERM at most; recovery is with the start of the next one`,
      }
    }),
}
