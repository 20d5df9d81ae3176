import { sleep, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { apiIdOf, connectingReason, hasCode, isUnknownTopic, reasonOf } from './errors.ts'
import { Wire, type KafkaConnectionOptions } from './wire.ts'

export interface CheckBrokersOptions {
  readonly connection: KafkaConnectionOptions
  readonly topics: readonly string[]
  readonly groupId: string
  readonly groupProtocol: 'classic' | 'consumer'
}

const answerMs = 10_000
const againMs = [500, 1_000, 2_000, 4_000]

/**
 * Asks the brokers, before anything runs, for what a consumer of these topics needs.
 * @throws HoldfastError `unavailable`, one sentence that names the setting: `bootstrapBrokers`, `tls`, `sasl`, `topics`,
 * `groupId` or `groupProtocol`.
 */
export async function checkBrokers(options: CheckBrokersOptions, clock: Clock, signal: AbortSignal): Promise<void> {
  for (const waitMs of [...againMs, undefined]) {
    try {
      return await checkOnce(options)
    } catch (error) {
      // A broker that restarts is back in a moment. What it refuses, or who it is not, no wait mends.
      if (waitMs === undefined || !isUnreachable(error)) throw error
      await sleep(clock, waitMs, signal)
    }
  }
}

async function checkOnce({ connection, topics, groupId, groupProtocol }: CheckBrokersOptions): Promise<void> {
  const wire = new Wire(connection, answerMs)
  try {
    const versions = await wire.versions().catch((error: unknown) => refuse(connectingReason(error), error))
    // Version 13 of Fetch names topics by their ids, which tells a topic that was made anew.
    if ((versions.get('Fetch') ?? 0) < 13) refuse('bootstrapBrokers: these brokers are older than Kafka 3.2')
    if (groupProtocol === 'consumer' && !versions.has('ConsumerGroupHeartbeat'))
      refuse("groupProtocol: 'consumer' needs Kafka 4.0 or newer; these brokers offer 'classic' only")
    for (const topic of topics) await checkTopic(wire, topic)
    await wire.ask(undefined, 'FindCoordinator', 0, [groupId]).catch((error: unknown) => {
      // A fresh cluster has no coordinator yet. The group's own retries wait for it.
      if (apiIdOf(error)?.startsWith('COORDINATOR') === true) return
      refuse(`groupId: '${groupId}' may not be used: ${reasonOf(error)}`, error)
    })
  } finally {
    await wire.close()
  }
}

function isUnreachable(error: unknown): boolean {
  return (
    apiIdOf(error) === undefined &&
    !isUnknownTopic(error) &&
    hasCode(error, 'PLT_KFK_NETWORK') &&
    !connectingReason(error).startsWith('tls') &&
    !hasCode(error, 'PLT_KFK_AUTHENTICATION')
  )
}

async function checkTopic(wire: Wire, topic: string): Promise<void> {
  try {
    await wire.metadata([topic], true)
  } catch (error) {
    if (isUnknownTopic(error)) refuse(`topics: '${topic}' does not exist`, error)
    refuse(`topics: '${topic}' cannot be read: ${reasonOf(error)}`, error)
  }
}

function refuse(message: string, cause?: unknown): never {
  throw new HoldfastError('unavailable', `kafka: ${message}`, { cause })
}
