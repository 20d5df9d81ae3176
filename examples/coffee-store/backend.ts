import type { IdempotencyStore, Outgoing, Pipeline, Publisher } from 'holdfast'
import type { ServiceName } from './plan.ts'

/** What the shop stands on: in memory, or real servers. */
export interface Backend extends Broker, Keys {
  /** What it is, for the title. */
  readonly name: string
}

export interface Broker {
  readonly publisher: Publisher
  readonly ordersTopic: string
  deadLetterTopic(service: ServiceName): string
  /** Resolves when the service's consumer gets messages. */
  consume(service: ServiceName, pipeline: Pipeline): Promise<Consumer>
  deadLetters(service: ServiceName): Promise<readonly Pick<Outgoing, 'id' | 'body'>[]>
  /** So long without anything happening means that nothing will. */
  readonly patienceMs: number
  close(): Promise<void>
}

export interface Consumer {
  /** As `kill -9` does: nothing is said to anybody, nothing more is committed. */
  crash(): Promise<void>
  stop(): Promise<void>
}

/** Where idempotency keys are kept. */
export interface Keys {
  readonly store: IdempotencyStore
  closeKeys(): Promise<void>
}
