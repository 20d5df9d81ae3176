import { setTimeout as sleep } from 'node:timers/promises'
import type { Scenario } from '../scenario.ts'
import { privateKafka } from '../../../test/support/private-servers.ts'
import { outboxRun } from './outbox-runs.ts'

export const outboxBrokerDown: Scenario = {
  name: 'outbox-broker-down',
  what: 'the Kafka that relays publish to is killed with -9 and away for 10 s (at full length 10 minutes), while writers go on',
  promise: 'nothing lost, nothing invented, every key in order; an outage makes no message poison; repeats are counted',
  needs: [],
  async run(how) {
    const awayMs = how.full ? 600_000 : 10_000
    const injected = { 'broker killed -9': 0, 'seconds away': 0 }
    const kafka = await privateKafka()
    try {
      return await outboxRun(how, () => injected, {
        messages: 3_000,
        only: ['outage'],
        killEveryMs: 1500,
        brokers: kafka.url.split(','),
        async outage() {
          if (injected['broker killed -9'] > 0) return
          injected['broker killed -9']++
          await kafka.kill('SIGKILL')
          await sleep(awayMs)
          injected['seconds away'] += awayMs / 1000
          await kafka.start()
        },
      })
    } finally {
      await kafka.dispose()
    }
  },
}
