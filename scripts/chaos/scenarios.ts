import { bigError } from './reliability/big-error.ts'
import { breakerOpen } from './reliability/breaker-open.ts'
import { amqpCrashes, natsCrashes, pulsarCrashes, rabbitmqCrashes } from './reliability/broker-crashes.ts'
import { brokerDown } from './reliability/broker-down.ts'
import { claimInside } from './reliability/claim-inside.ts'
import { claimInsideKafka } from './reliability/claim-inside-kafka.ts'
import { commitRefused } from './reliability/commit-refused.ts'
import { compactedOffsets } from './reliability/compacted-offsets.ts'
import { deadLetterDown } from './reliability/dead-letter-down.ts'
import { deadlockStorm } from './reliability/deadlock-storm.ts'
import { eventLoopBlock } from './reliability/event-loop-block.ts'
import { failureStep } from './reliability/failure-step.ts'
import { fleetCircuit } from './reliability/fleet-circuit.ts'
import { fleetLimits } from './reliability/fleet-limits.ts'
import { hostileHeadersRow } from './reliability/hostile-headers.ts'
import { kafkaClassic, kafkaConsumerProtocol, kafkaCrashes, kafkaOrdered } from './reliability/kafka-crashes.ts'
import { killedAtEachStep } from './reliability/killed-at-each-step.ts'
import { lateCompletion } from './reliability/late-completion.ts'
import { leaseExpiry } from './reliability/lease-expiry.ts'
import { offsetOutOfRange } from './reliability/offset-out-of-range.ts'
import { outboxBrokerDown } from './reliability/outbox-broker-down.ts'
import { outbox, relayStopped, relaysKilled, rotationRepeatableRead } from './reliability/outbox-runs.ts'
import { parking } from './reliability/parking.ts'
import { pooled, pooledRelays } from './reliability/pgbouncer.ts'
import { poison } from './reliability/poison.ts'
import { poisonBurst } from './reliability/poison-burst.ts'
import { postgresNetwork } from './reliability/postgres-network.ts'
import { postgresRestart } from './reliability/postgres-restart.ts'
import { rebalanceStorm } from './reliability/rebalance-storm.ts'
import { redrives, redrivesToKafka } from './reliability/redrives.ts'
import { redisFailover } from './reliability/redis-failover.ts'
import { redisReplyLost } from './reliability/redis-reply-lost.ts'
import { redisRestart } from './reliability/redis-restart.ts'
import { sigtermInBackoff } from './reliability/sigterm-in-backoff.ts'
import { simulated } from './reliability/simulated.ts'
import type { Scenario } from './scenario.ts'

/** The table of reliability, in the order of `docs/proof.md`. */
export const groups: readonly { readonly title: string; readonly scenarios: readonly Scenario[] }[] = [
  {
    title: 'Claims and transactions in PostgreSQL',
    scenarios: [
      killedAtEachStep,
      leaseExpiry,
      eventLoopBlock,
      postgresRestart,
      commitRefused,
      deadlockStorm,
      postgresNetwork,
      pooled,
      claimInside,
    ],
  },
  { title: 'Claims in Redis', scenarios: [redisReplyLost, redisRestart, redisFailover] },
  {
    title: 'Outbox',
    scenarios: [outbox, relayStopped, relaysKilled, rotationRepeatableRead, outboxBrokerDown, pooledRelays],
  },
  {
    title: 'Kafka',
    scenarios: [
      kafkaCrashes,
      kafkaOrdered,
      kafkaClassic,
      kafkaConsumerProtocol,
      brokerDown,
      rebalanceStorm,
      lateCompletion,
      claimInsideKafka,
      parking,
      compactedOffsets,
      offsetOutOfRange,
    ],
  },
  { title: 'RabbitMQ', scenarios: [rabbitmqCrashes] },
  { title: 'NATS JetStream', scenarios: [natsCrashes] },
  { title: 'AMQP 1.0', scenarios: [amqpCrashes] },
  { title: 'Apache Pulsar', scenarios: [pulsarCrashes] },
  {
    title: 'Pipeline',
    scenarios: [
      poison,
      poisonBurst,
      deadLetterDown,
      bigError,
      breakerOpen,
      failureStep,
      sigtermInBackoff,
      hostileHeadersRow,
    ],
  },
  { title: 'Dead letters', scenarios: [redrives, redrivesToKafka] },
  { title: 'A fleet of processes', scenarios: [fleetCircuit, fleetLimits] },
  { title: 'In the simulated world', scenarios: [simulated] },
]

export const scenarios: readonly Scenario[] = groups.flatMap((group) => group.scenarios)

export function scenarioNamed(name: string | undefined): Scenario | undefined {
  return scenarios.find((scenario) => scenario.name === name)
}
