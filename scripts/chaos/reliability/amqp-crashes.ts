import { runScript } from '../../../test/support/run-script.ts'
import { breaks } from '../amqp/breaks.ts'
import type { Scenario } from '../scenario.ts'

export const amqpCrashes: Scenario = {
  name: 'amqp-crashes',
  what: 'three consumer processes on ActiveMQ Artemis: kills, SIGSTOP past the idle time-out, members that leave and join, connections that are cut, a broker that is killed',
  promise: 'effects once, nothing lost, every key in order',
  needs: ['postgres'],
  breaks,
  async run(how) {
    const { seed, full, broken } = how
    const args = ['--seed', `${seed}`, '--messages', full ? '20000' : '8000']
    const planted = broken === undefined ? [] : ['--break', broken]
    const { count, code } = await runScript('amqp/main.ts', [...args, ...planted], how)
    return {
      injected: {
        'kill -9': count('kills'),
        SIGSTOP: count('pauses'),
        SIGTERM: count('leaves'),
        'connections cut': count('cuts'),
        'broker killed': count('brokerRestarts'),
      },
      messages: count('produced'),
      lost: count('lost'),
      doubled: count('doubled'),
      outOfOrder: count('outOfOrder'),
      recoveryMs: null,
      violations: code === 0 || count('lost') >= 0 ? [] : [`it ended with ${code}`],
    }
  },
}
