import { runScript } from '../../../test/support/run-script.ts'
import { breaks as amqpBreaks } from '../amqp/breaks.ts'
import { breaks as natsBreaks } from '../nats/breaks.ts'
import { breaks as pulsarBreaks } from '../pulsar/breaks.ts'
import { breaks as rabbitmqBreaks } from '../rabbitmq/breaks.ts'
import type { Report, RunHow, Scenario } from '../scenario.ts'

const promise = 'effects once, nothing lost, every key in order'

async function crashes(script: string, how: RunHow): Promise<Report> {
  const { seed, full, broken } = how
  const args = ['--seed', `${seed}`, '--messages', full ? '20000' : '8000']
  const planted = broken === undefined ? [] : ['--break', broken]
  const { count, code } = await runScript(script, [...args, ...planted], how)
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
}

export const rabbitmqCrashes: Scenario = {
  name: 'rabbitmq-crashes',
  what: 'three consumer processes: kills, SIGSTOP past the heartbeat, members that leave and join, connections that are cut, a broker that is killed',
  promise,
  needs: ['postgres'],
  breaks: rabbitmqBreaks,
  run: (how) => crashes('rabbitmq/main.ts', how),
}

export const natsCrashes: Scenario = {
  name: 'nats-crashes',
  what: 'three consumer processes: kills, SIGSTOP past the lease, members that leave and join, connections that are cut, a server that is killed',
  promise,
  needs: ['postgres'],
  breaks: natsBreaks,
  run: (how) => crashes('nats/main.ts', how),
}

export const amqpCrashes: Scenario = {
  name: 'amqp-crashes',
  what: 'three consumer processes on ActiveMQ Artemis: kills, SIGSTOP past the idle time-out, members that leave and join, connections that are cut, a broker that is killed',
  promise,
  needs: ['postgres'],
  breaks: amqpBreaks,
  run: (how) => crashes('amqp/main.ts', how),
}

export const pulsarCrashes: Scenario = {
  name: 'pulsar-crashes',
  what: 'three consumer processes on Apache Pulsar: kills, SIGSTOP past the keep-alive, members that leave and join, connections that are cut, a broker that is killed',
  promise,
  needs: ['postgres'],
  breaks: pulsarBreaks,
  run: (how) => crashes('pulsar/main.ts', how),
}
