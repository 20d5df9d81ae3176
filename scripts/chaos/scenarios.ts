import { brokerDown } from './reliability/broker-down.ts'
import { kafkaCrashes, kafkaOrdered } from './reliability/kafka-crashes.ts'
import { lateCompletion } from './reliability/late-completion.ts'
import { outbox } from './reliability/outbox.ts'
import { rebalanceStorm } from './reliability/rebalance-storm.ts'
import { simulated } from './reliability/simulated.ts'
import type { Scenario } from './scenario.ts'

/** The table of reliability, in the order of `docs/proof.md`. */
export const groups: readonly { readonly title: string; readonly scenarios: readonly Scenario[] }[] = [
  { title: 'Claims and transactions in PostgreSQL', scenarios: [] },
  { title: 'Claims in Redis', scenarios: [] },
  { title: 'Outbox', scenarios: [outbox] },
  { title: 'Kafka', scenarios: [kafkaCrashes, kafkaOrdered, brokerDown, rebalanceStorm, lateCompletion] },
  { title: 'Pipeline', scenarios: [] },
  { title: 'In the simulated world', scenarios: [simulated] },
]

export const scenarios: readonly Scenario[] = groups.flatMap((group) => group.scenarios)

export function scenarioNamed(name: string | undefined): Scenario | undefined {
  return scenarios.find((scenario) => scenario.name === name)
}
