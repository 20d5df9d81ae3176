import { either, having, type Kind } from '../../../core/options.ts'

/**
 * What is used of a client of the official package `pulsar-client`. Its real types fit. It was not run: the package
 * fetches a native library when it is installed.
 */
export interface OfficialPulsarClient {
  subscribe(config: OfficialSubscription): Promise<OfficialConsumer>
  createProducer(config: OfficialProduction): Promise<OfficialProducer>
}

export interface OfficialSubscription {
  readonly topic: string
  readonly subscription: string
  readonly subscriptionType: 'Exclusive' | 'Shared' | 'KeyShared' | 'Failover'
  readonly subscriptionInitialPosition: 'Latest' | 'Earliest'
  readonly receiverQueueSize: number
}

export interface OfficialConsumer {
  /** Rejects after the time-out. */
  receive(timeoutMs?: number): Promise<OfficialMessage>
  acknowledge(message: OfficialMessage): Promise<unknown>
  isConnected(): boolean
  close(): Promise<unknown>
}

export interface OfficialMessage {
  getProperties(): { readonly [name: string]: string }
  getData(): Buffer
  getMessageId(): { toString(): string }
  getPublishTimestamp(): number
  getEventTimestamp(): number
  getPartitionKey(): string
}

export interface OfficialProduction {
  readonly topic: string
  readonly sendTimeoutMs: number
  readonly blockIfQueueFull: boolean
  readonly batchingEnabled: boolean
  readonly hashingScheme: 'JavaStringHash'
}

export interface OfficialProducer {
  send(message: OfficialOutgoing): Promise<unknown>
  close(): Promise<unknown>
}

export interface OfficialOutgoing {
  readonly data: Buffer
  readonly properties: { [name: string]: string }
  readonly partitionKey?: string
  readonly eventTimestamp?: number
}

/** Ours, or the official one. */
export const clientKind: Kind = either(having('connectionFor', 'partitionsOf'), having('subscribe', 'createProducer'))

export function isOfficial(client: object): client is OfficialPulsarClient {
  return 'createProducer' in client && !('connectionFor' in client)
}

// It tells results by name, in the message of a plain error.
const refusals = /TopicTerminated|InvalidTopicName|IncompatibleSchema|TopicNotFound|NotAllowed|MessageTooBig/
const denials = /AuthenticationError|AuthorizationError|Authentication error|Authorization error/

export function isOfficialRefusal(error: unknown): boolean {
  return refusals.test(String(error))
}

/** No later try would end otherwise before somebody acts. */
export function isOfficialForGood(error: unknown): boolean {
  return (
    denials.test(String(error)) || /InvalidTopicName|IncompatibleSchema|TopicNotFound|NotAllowed/.test(String(error))
  )
}
