import { setTimeout as sleep } from 'node:timers/promises'
import { withKafkaRig } from '../kafka/rig.ts'
import { privateKafka } from '../../../test/support/private-servers.ts'
import type { Scenario } from '../scenario.ts'

const shortMs = 15_000
const fullMs = 600_000
// More than is handled before, and from memory until the session is over.
const before = 6000
const after = 1000

export const brokerDown: Scenario = {
  name: 'broker-down',
  what: 'the only broker is stopped while two consumers work, and started again after 10 minutes (shortened: 15 s)',
  promise: 'nothing lost, no effect twice, every key in order; the consumers come back by themselves',
  needs: ['postgres'],
  async run(how) {
    const downMs = how.full ? fullMs : Math.max(shortMs, how.minutes * 60_000)
    const broker = await privateKafka()
    try {
      return await withKafkaRig(how, { brokers: broker.url.split(',') }, async (rig) => {
        const work = rig.once({ before: () => sleep(20) })
        await rig.produce(before)
        for (let n = 0; n < 2; n++) rig.start(work, { concurrency: 4 })
        const share = 0.1 + rig.random() * 0.2
        await rig.until('a part of them', async () => (await rig.effects()) > before * share)
        // In good order or not, as the seed decides.
        await broker.kill(rig.random() < 0.5 ? 'SIGKILL' : 'SIGTERM')
        how.say(`the broker is away for ${downMs / 1000} s`)
        await sleep(downMs, undefined, { signal: how.signal })
        const atEnd = await rig.effects()
        await broker.start()
        const backMs = performance.now()
        await rig.until('the first effect after it', async () => (await rig.effects()) > atEnd, 120_000)
        const recoveryMs = performance.now() - backMs
        await rig.produce(after)
        await rig.settle(before + after)
        return {
          injected: { 'broker stopped': 1, 'seconds away': downMs / 1000 },
          ...(await rig.figures()),
          recoveryMs,
          notes: `${rig.changed('crashed')} restarts of kafkajs, ${rig.counts.duplicates} redelivered and recognised`,
        }
      })
    } finally {
      await broker.dispose()
    }
  },
}
