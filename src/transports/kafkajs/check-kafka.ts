import type { Admin, Kafka } from 'kafkajs'
import { HoldfastError } from '../../core/errors.ts'
import { faultOf } from './kafka-errors.ts'
import { checkOptions, having, list, required, text } from '../../core/options.ts'

export interface CheckKafkaOptions {
  readonly kafka: Pick<Kafka, 'admin'>
  readonly topics: readonly string[]
  readonly groupId?: string
}

/**
 * Asks the brokers, before anything runs, for what a consumer of these topics needs.
 * @throws HoldfastError `unavailable`, one sentence that names the setting: `brokers`, `ssl`, `sasl`, `topics` or `groupId`.
 */
export async function checkKafka(options: CheckKafkaOptions): Promise<void> {
  const { kafka, topics, groupId } = checkOptions('checkKafka', options, {
    kafka: required(having('admin')),
    topics: required(list),
    groupId: text,
  })
  const admin = kafka.admin({ retry: { retries: 2, initialRetryTime: 100 } })
  try {
    await admin.connect().catch((error: unknown) => refuse(connecting(error), error))
    await checkTopics(admin, topics)
    if (groupId !== undefined)
      await admin.fetchOffsets({ groupId, topics: [...topics] }).catch((error: unknown) => {
        refuse(`groupId: '${groupId}' may not be used: ${textOf(error)}`, error)
      })
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

async function checkTopics(admin: Admin, topics: readonly string[]): Promise<void> {
  for (const topic of topics) {
    try {
      await admin.fetchTopicMetadata({ topics: [topic] })
    } catch (error) {
      const { type } = faultOf(error)
      if (type === 'UNKNOWN_TOPIC_OR_PARTITION') refuse(`topics: '${topic}' does not exist`, error)
      refuse(`topics: '${topic}' cannot be read: ${textOf(error)}`, error)
    }
  }
}

function connecting(error: unknown): string {
  const { name, message } = faultOf(error)
  if (name === 'KafkaJSSASLAuthenticationError' || /sasl/i.test(message)) return `sasl: ${message}`
  if (/certificate|\bssl\b|\btls\b/i.test(message)) return `ssl: ${message}`
  return `brokers: none can be reached: ${message}`
}

function textOf(error: unknown): string {
  const { type, message } = faultOf(error)
  return type === undefined ? message : `${type} (${message})`
}

function refuse(message: string, cause: unknown): never {
  throw new HoldfastError('unavailable', `kafka: ${message}`, { cause })
}
