import type { Bytes, Claimed, Delivery, IdempotencyStore, Pipeline, PipelineBuilder, Publisher } from 'holdfast'
import type { OutboxStore } from 'holdfast/outbox'
import type { RequestListener } from 'node:http'
import type { Consumer } from '../backend.ts'
import type { Order } from '../orders.ts'
import type { Effect, Process } from '../world.ts'
import type { Figures } from './audit.ts'
import type { Placed } from './books.ts'
import type { Clicks } from './windows.ts'

/** What carries messages. */
export interface Wire {
  /** For the title; empty in memory. */
  readonly name: string
  readonly publisher: Publisher
  readonly ordersTopic: string
  readonly clicksTopic: string
  /** Resolves when the group gets messages. */
  consume(group: string, topic: string, pipeline: Pipeline, concurrency: number): Promise<Consumer>
  close(): Promise<void>
}

/** Writes down one effect. */
export type Write = (effect: Effect) => Promise<void>

/** What keeps the ledger, the outbox, the claims, the dead letters and the clicks. */
export interface Database {
  /** For the title; empty in memory. */
  readonly name: string
  readonly outboxStore: OutboxStore
  /** The orders in the ledger and their messages in the outbox: both, or neither. */
  place(orders: readonly Placed[], topic: string): Promise<void>
  readonly deadLetters: Publisher
  /** The payment API's own ledger. It refuses a second charge of a key, and knows nothing of a call without one. */
  charge(effect: Effect, key: string | undefined): Promise<void>
  /** The connections of one process: they end with it. */
  connect(process: Process): Connections
  /** A pipeline that counts each click once, or, if it is naive, each delivery. */
  clicks(naive: boolean): Pipeline
  recentClicks(): Promise<Clicks>
  figures(): Promise<Figures>
  /** The operator's page, where there is one. */
  operatorPage?(basePath: string, jaeger: string | null): RequestListener
  close(): Promise<void>
}

export interface Connections {
  readonly store: IdempotencyStore
  /** How many handlers may run at once. */
  readonly concurrency: number
  /** The last stage and the handler. What `write` writes commits together with the completion of the claim. */
  finish(
    stack: PipelineBuilder<Bytes, Order, Claimed>,
    handler: (delivery: Delivery<Order>, write: Write) => Promise<void>,
  ): Pipeline
  /** Without any of it: each write stands for itself. */
  readonly write: Write
  close(): Promise<void>
}
