import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Delivery } from '../../core/delivery.ts'
import { headersFrom, type Bytes, type Message } from '../../core/message.ts'
import type { Outgoing, OutgoingParts } from '../../core/publisher.ts'
import type {
  TestConsumer,
  TestConsumerOptions,
  TestTransport,
  TransportFeatures,
  TransportUnderTest,
} from './transport-under-test.ts'

export interface Bench extends TestTransport {
  readonly topic: string
  readonly groupId: string
  readonly publish: (...messages: readonly Omit<OutgoingParts<Bytes>, 'destination'>[]) => Promise<void>
  /** Starts a consumer; it is stopped when the test is over. */
  readonly start: (handler: Handler, options?: Partial<TestConsumerOptions>) => Running
}

export interface Running {
  readonly consumer: TestConsumer
  /** Stops it in good order. */
  stop(): Promise<void>
}

export type Handler = (delivery: Delivery<Bytes>) => Promise<unknown> | void

export interface TransportCase {
  readonly name: string
  readonly needs?: (features: TransportFeatures) => boolean
  readonly partitions?: number
  readonly body: (bench: Bench, under: TransportUnderTest) => Promise<void>
}

export async function until(what: string, isTrue: () => boolean, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!isTrue()) {
    assert.ok(performance.now() < deadline, `not within ${withinMs} ms: ${what}`)
    await sleep(5)
  }
}

export const numbered = (count: number, keys: number): Omit<Outgoing, 'destination'>[] =>
  Array.from({ length: count }, (_, n) => ({
    id: `m${n}`,
    type: 'numbered',
    key: `k${n % keys}`,
    headers: headersFrom([]),
    body: Buffer.from(String(n)),
    timeMs: n,
  }))

const numberIn = (message: Message<Bytes>): number => Number(Buffer.from(message.body ?? []).toString())

/** Notes what is handled, and fails where a key is handled out of order or twice at once. */
export function ledger(): {
  readonly handle: Handler
  readonly ids: Set<string>
  readonly faults: string[]
  most: number
} {
  const last = new Map<string, number>()
  const busy = new Set<string>()
  const self = { handle, ids: new Set<string>(), faults: [] as string[], most: 0 }
  async function handle({ message }: Delivery<Bytes>): Promise<void> {
    const key = message.key ?? ''
    const n = numberIn(message)
    if (busy.has(key)) self.faults.push(`${key} ran twice at once at ${n}`)
    busy.add(key)
    self.most = Math.max(self.most, busy.size)
    // Some take long enough for another member to begin with their key, if it may.
    await sleep(n % 49 === 0 ? 250 : n % 4)
    busy.delete(key)
    // What comes again is a duplicate; what is new must be the next.
    if (!self.ids.has(message.id) && n < (last.get(key) ?? -1))
      self.faults.push(`${key} took ${n} after ${last.get(key)}`)
    last.set(key, Math.max(n, last.get(key) ?? -1))
    self.ids.add(message.id)
  }
  return self
}
