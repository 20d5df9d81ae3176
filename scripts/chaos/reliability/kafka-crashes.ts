import { breaks } from '../kafka/breaks.ts'
import type { Report, RunHow, Scenario } from '../scenario.ts'
import { runScript } from '../../../test/support/run-script.ts'

async function crashes(how: RunHow, flags: readonly string[], faults: Readonly<Record<string, string>>) {
  const { seed, minutes, full, broken } = how
  const planted = broken === undefined ? [] : ['--break', broken]
  // Long enough for each kind of fault.
  const args = ['--seed', `${seed}`, '--minutes', `${Math.max(minutes, 0.8)}`, '--messages', full ? '50000' : '12000']
  const { count, code } = await runScript('kafka/main.ts', [...flags, ...args, ...planted], how)
  const report: Report = {
    injected: Object.fromEntries(Object.entries(faults).map(([what, name]) => [what, count(name)])),
    messages: count('produced'),
    lost: count('lost'),
    doubled: count('doubled'),
    outOfOrder: count('outOfOrder'),
    recoveryMs: null,
    violations: [
      ...(count('backwards') > 0 ? [`${count('backwards')} commits went backwards`] : []),
      ...(code === 0 || count('lost') >= 0 ? [] : [`it ended with ${code}`]),
    ],
  }
  return report
}

const promise = 'effects once, nothing lost, no commit goes back'

export const kafkaCrashes: Scenario = {
  name: 'kafka',
  what: 'three consumer processes on eachMessage are killed with -9 or stand still past their session, every few seconds',
  promise,
  needs: ['kafka', 'postgres'],
  breaks: { 'token-check': breaks['token-check'], 'early-key': breaks['early-key'] },
  run: (how) => crashes(how, [], { 'kill -9': 'kills', 'process blocked for 7 s': 'freezes' }),
}

function ordered(name: string, what: string, flags: readonly string[]): Scenario {
  return {
    name,
    what: `${what}: kills, SIGSTOP past the session, members that leave and join, a broker that restarts`,
    promise: `${promise}, every key in order`,
    needs: ['kafka', 'postgres'],
    breaks: { 'highest-offset': breaks['highest-offset'], 'ownership-guard': breaks['ownership-guard'] },
    run: (how) =>
      crashes(how, ['--ordered', ...flags], {
        'kill -9': 'kills',
        SIGSTOP: 'pauses',
        SIGTERM: 'leaves',
        'broker restarts': 'brokerRestarts',
      }),
  }
}

export const kafkaOrdered = ordered('kafka-ordered', 'the managed consumer', [])

export const kafkaClassic = ordered('kafka-platformatic', 'the managed consumer on @platformatic/kafka', [
  '--client',
  'classic',
])

export const kafkaConsumerProtocol = ordered(
  'kafka-kip-848',
  'the managed consumer on @platformatic/kafka with the consumer protocol',
  ['--client', 'consumer'],
)
