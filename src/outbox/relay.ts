import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { systemClock, type Clock } from '../core/clock.ts'
import { HoldfastError, isHoldfastError } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import type { HasHealth } from '../core/health.ts'
import { requireCount, requireMethods, requireMs, requireText } from '../core/options.ts'
import type { Publisher } from '../core/publisher.ts'
import { shardLoop, type ShardLoop } from './shard-loop.ts'
import type { Attendance, OutboxStore } from './store.ts'
import { wake } from './wake.ts'

export interface OutboxRelayOptions {
  readonly store: OutboxStore
  /** Must take a key's messages in order, and fail what follows a message of the same key that it could not send. */
  readonly publisher: Publisher
  /** Who holds the leases; no two relays may share a name. @defaultValue host, process and a random part */
  readonly name?: string
  /** How long a shard stays with a relay that has died. @defaultValue 10_000 */
  readonly leaseMs?: number
  /** How many messages are read and published together. @defaultValue 500 */
  readonly batchRows?: number
  /** How many bytes of bodies are; one message may be larger. @defaultValue 500_000, below what Kafka takes in one batch */
  readonly batchBytes?: number
  /** How often the store is asked right after a message; a quarter as often right after several. @defaultValue 5 */
  readonly minPollMs?: number
  /** How often it is asked when nothing has happened for long. @defaultValue 250 */
  readonly maxPollMs?: number
  /** How often delayed messages are looked for. @defaultValue 500 */
  readonly duePollMs?: number
  /** How long a confirmation may take. @defaultValue 30_000 */
  readonly publishTimeoutMs?: number
  /** The first wait after an outage; it doubles. @defaultValue 100 */
  readonly minRetryMs?: number
  /** @defaultValue 10_000 */
  readonly maxRetryMs?: number
  /** Waits for each message's confirmation before the next one of its key is sent; for brokers that confirm one by one. @defaultValue false */
  readonly oneInFlightPerKey?: boolean
  /** How often space is freed. @defaultValue 5_000 */
  readonly rotateEveryMs?: number
  /** How often `outbox-status` is published, where anybody listens. @defaultValue 10_000 */
  readonly statusEveryMs?: number
  /** How long a relay that is told to stop may take to finish what it has begun. @defaultValue 10_000 */
  readonly drainMs?: number
  readonly clock?: Clock
  readonly random?: () => number
}

export interface OutboxRelay extends HasHealth {
  /**
   * Publishes until the signal aborts, then finishes what it has begun, gives its shards back and resolves.
   * @throws HoldfastError `bad-schema` when the store can not be worked with. What passes is waited out instead.
   */
  run(signal: AbortSignal): Promise<void>
  /** "Something was committed": the relay looks at once. Only a hint, polling finds everything. */
  poke(): void
}

const shardChanged = emitter('outbox-shard-changed')
const refusedEvent = emitter('outbox-refused')
const rotatedEvent = emitter('outbox-rotated')
const statusEvent = emitter('outbox-status')
const endedEvent = emitter('outbox-relay-ended')
const storeFailed = emitter('store-failed')

/** Publishes what committed transactions added to the outbox, at least once and in order per key, however many relays run. */
export function outboxRelay({
  store,
  publisher,
  name = `${hostname()}/${process.pid}/${randomUUID().slice(0, 8)}`,
  leaseMs = 10_000,
  batchRows = 500,
  batchBytes = 500_000,
  minPollMs = 5,
  maxPollMs = 250,
  duePollMs = 500,
  publishTimeoutMs = 30_000,
  minRetryMs = 100,
  maxRetryMs = 10_000,
  oneInFlightPerKey = false,
  rotateEveryMs = 5_000,
  statusEveryMs = 10_000,
  drainMs = 10_000,
  clock = systemClock,
  random = Math.random,
}: OutboxRelayOptions): OutboxRelay {
  requireMethods('outboxRelay', 'store', store, ['check', 'attend', 'claim', 'leave', 'rotate', 'status'])
  requireMethods('outboxRelay', 'publisher', publisher, ['publish'])
  requireText('outboxRelay', { name })
  requireCount('outboxRelay', { batchRows, batchBytes })
  requireMs('outboxRelay', { leaseMs, minPollMs, maxPollMs, duePollMs, publishTimeoutMs, minRetryMs, maxRetryMs })
  requireMs('outboxRelay', { rotateEveryMs, statusEveryMs })
  requireMs('outboxRelay', { drainMs }, 0)

  const news = wake(clock)
  const owned = new Map<number, ShardLoop>()
  const activity = { lastMs: clock.now() }
  const attendEveryMs = Math.min(leaseMs / 5, 1000)
  let attendance: Attendance | null = null
  let attendedAtMs = -Infinity
  let lastError: unknown = null
  let state: 'new' | 'running' | 'stopped' | 'failed' = 'new'

  /** Runs one call of the store; where it fails, says so and goes on. */
  async function attempted<T>(operation: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await bounded(clock, leaseMs, work())
    } catch (error) {
      lastError = error
      if (storeFailed.active()) storeFailed.publish({ store: store.name, operation, error })
      return undefined
    }
  }

  async function every(ms: number, stop: AbortSignal, work: () => Promise<unknown>): Promise<void> {
    const timer = wake(clock)
    while (!stop.aborted) {
      await work()
      await timer.wait(ms * (0.75 + random() / 2), 0, stop)
    }
  }

  /** Takes shards up to this relay's share, and gives back what is over it. */
  async function balance(stop: AbortSignal, drained: AbortSignal): Promise<void> {
    const now = await attempted('attend', () => store.attend(name, leaseMs))
    if (now === undefined) return
    const refusedBefore = attendance?.refused ?? null
    attendance = now
    attendedAtMs = clock.now()
    if (now.refused !== null) {
      // Once, and not at every look.
      if (now.refused !== refusedBefore && refusedEvent.active())
        refusedEvent.publish({ relay: name, reason: now.refused })
      for (const shard of owned.values()) shard.stop()
      return
    }
    for (const shard of [...owned.values()].slice(now.share)) shard.stop()
    while (owned.size < now.share && !stop.aborted) {
      const sentAtMs = clock.now()
      const lease = await attempted('claim', () => store.claim(name, leaseMs, [...owned.keys()]))
      if (lease === undefined || lease === null) return
      const { shard, epoch } = lease
      if (shardChanged.active()) shardChanged.publish({ relay: name, shard, epoch, change: 'claimed' })
      const loop = shardLoop({
        ...{ relay: name, lease, publisher, news, leaseMs, leaseEndsMs: sentAtMs + leaseMs, batchRows, batchBytes },
        ...{ minPollMs, maxPollMs, duePollMs, publishTimeoutMs, minRetryMs, maxRetryMs, oneInFlightPerKey },
        ...{ clock, random, drained, activity },
      })
      owned.set(shard, loop)
      void loop.ended.then(({ change, error }) => {
        owned.delete(shard)
        if (error !== undefined) lastError = error
        if (shardChanged.active())
          shardChanged.publish({ relay: name, shard, epoch, change, ...(error === undefined ? {} : { error }) })
      })
    }
  }

  async function rotate(): Promise<void> {
    if (attendance === null || attendance.refused !== null) return
    const rotations = await attempted('rotate', () => store.rotate())
    if (rotatedEvent.active())
      for (const { slot, result } of rotations ?? []) rotatedEvent.publish({ relay: name, slot, result })
  }

  async function tell(): Promise<void> {
    if (!statusEvent.active()) return
    const status = await attempted('status', () => store.status())
    if (status === undefined) return
    const { pending, oldestAgeMs, delayed, dead, shards } = status
    const unheld = shards.filter(({ held }) => !held).length
    statusEvent.publish({ relay: name, owned: [...owned.keys()], pending, oldestAgeMs, delayed, dead, unheld })
  }

  /** A store that is merely not reachable yet is waited for. */
  async function ready(signal: AbortSignal): Promise<void> {
    const timer = wake(clock)
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        await bounded(clock, leaseMs, store.check())
        return
      } catch (error) {
        lastError = error
        if (isHoldfastError(error) && error.code === 'bad-schema') throw error
        if (storeFailed.active()) storeFailed.publish({ store: store.name, operation: 'check', error })
      }
      await timer.wait(Math.min(maxRetryMs, minRetryMs * 2 ** tries), 0, signal)
    }
  }

  return {
    async run(signal) {
      if (state !== 'new')
        throw new HoldfastError('bad-option', 'outboxRelay: run() may be called once; make another relay')
      state = 'running'
      try {
        await ready(signal)
      } catch (error) {
        state = 'failed'
        throw error
      }
      const drained = new AbortController()
      await Promise.all([
        every(attendEveryMs, signal, () => balance(signal, drained.signal)),
        every(rotateEveryMs, signal, rotate),
        every(statusEveryMs, signal, tell),
      ])
      const loops = [...owned.values()]
      for (const loop of loops) loop.stop()
      const cancel = clock.after(drainMs, () =>
        drained.abort(new HoldfastError('timed-out', 'outbox: the relay stops')),
      )
      await Promise.all(loops.map(({ ended }) => ended))
      cancel()
      await attempted('leave', () => store.leave(name))
      state = 'stopped'
      if (endedEvent.active()) endedEvent.publish({ relay: name })
    },
    poke: () => news.poke(),
    health() {
      const outages = [...owned.values()].filter((loop) => loop.outage() !== null)
      const attended = clock.now() - attendedAtMs < 2 * leaseMs
      return {
        name: `outbox relay ${name}`,
        live: state !== 'failed',
        ready: state === 'running' && attended && attendance?.refused === null && outages.length === 0,
        details: {
          state,
          owned: [...owned.keys()].sort((a, b) => a - b),
          shards: attendance?.shards ?? null,
          relays: attendance?.relays ?? null,
          refused: attendance?.refused ?? null,
          outage: outages[0]?.outage() ?? null,
          lastError: lastError === null ? null : textOf(lastError),
        },
      }
    },
  }
}

/** A database that never answers must not hold a relay for ever; what it answers later is ignored. */
function bounded<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () =>
      reject(new HoldfastError('timed-out', `outbox: the store did not answer within ${ms} ms`)),
    )
    work.then(resolve, reject).finally(cancel)
  })
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
