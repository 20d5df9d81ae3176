import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { systemClock, type Clock } from '../core/clock.ts'
import { HoldfastError, isHoldfastError, textOf } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import type { HasHealth } from '../core/health.ts'
import {
  badOption,
  callback,
  checkOptions,
  clockKind,
  count,
  flag,
  having,
  ms,
  required,
  text,
} from '../core/options.ts'
import type { Publisher } from '../core/publisher.ts'
import { neverAborts, untilAborted } from '../core/signals.ts'
import { shardLoop, type ShardLoop } from './shard-loop.ts'
import type { Attendance, OutboxLease, OutboxStore } from './store.ts'
import { wake } from './wake.ts'

export interface OutboxRelayOptions {
  readonly store: OutboxStore
  /** Publishes the messages. Must keep the order of each key: if a message fails, later ones of its key in that call must fail too. */
  readonly publisher: Publisher
  /** The owner of the leases. No two relays may share a name. @defaultValue host, process and a random part */
  readonly name?: string
  /** Length of a shard's lease in ms. The shards of a dead relay are free after that. At least 100. @defaultValue 10_000 */
  readonly leaseMs?: number
  /** Most messages in one page, read and published together. @defaultValue 500 */
  readonly batchRows?: number
  /** Most bytes of bodies in one page. A single message may be larger. @defaultValue 500_000, below Kafka's limit for one batch */
  readonly batchBytes?: number
  /** Shortest poll interval in ms, after one message. Four times that after several. @defaultValue 5 */
  readonly minPollMs?: number
  /** Longest poll interval in ms, when no message has come for long. @defaultValue 250 */
  readonly maxPollMs?: number
  /** How often it looks for delayed messages that are due, in ms. @defaultValue 500 */
  readonly duePollMs?: number
  /** How long a confirmation may take, in ms. A later one counts as an outage. @defaultValue 30_000 */
  readonly publishTimeoutMs?: number
  /** First wait after an outage in ms. It doubles each time. @defaultValue 100 */
  readonly minRetryMs?: number
  /** @defaultValue 10_000 */
  readonly maxRetryMs?: number
  /** Sends a key's next message only after the confirmation of the one before. For brokers that confirm one by one. @defaultValue false */
  readonly oneInFlightPerKey?: boolean
  /** Interval in ms between attempts to free space. @defaultValue 5_000 */
  readonly rotateEveryMs?: number
  /** Interval of the event `outbox-status` in ms, if it has subscribers. @defaultValue 10_000 */
  readonly statusEveryMs?: number
  /** Longest time in ms to finish the current pages on shutdown. @defaultValue 10_000 */
  readonly drainMs?: number
  readonly clock?: Clock
  readonly random?: () => number
}

export interface OutboxRelay extends HasHealth {
  /**
   * Publishes until the signal aborts. Then it finishes its current pages, releases its shards and resolves.
   * @throws HoldfastError `bad-schema` when an operator must act on the store first. The relay waits out other failures.
   */
  run(signal: AbortSignal): Promise<void>
  /** Tells the relay that a message was committed, so that it polls at once. Without this call polling finds the message. */
  poke(): void
}

const shardChanged = emitter('outbox-shard-changed')
const refusedEvent = emitter('outbox-refused')
const rotatedEvent = emitter('outbox-rotated')
const statusEvent = emitter('outbox-status')
const endedEvent = emitter('outbox-relay-ended')
const storeFailed = emitter('store-failed')

// Renewed at a fifth: less than a query or two would take, and shards would change hands without end.
const leastLeaseMs = 100

/** Publishes the messages of committed transactions at least once, in order per key. Any number of relays may run. */
export function outboxRelay(options: OutboxRelayOptions): OutboxRelay {
  const {
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
  } = checkOptions('outboxRelay', options, {
    store: required(having('check', 'attend', 'claim', 'leave', 'rotate', 'status')),
    publisher: required(having('publish')),
    name: text,
    leaseMs: ms(leastLeaseMs),
    batchRows: count(),
    batchBytes: count(),
    minPollMs: ms(),
    maxPollMs: ms(),
    duePollMs: ms(),
    publishTimeoutMs: ms(),
    minRetryMs: ms(),
    maxRetryMs: ms(),
    oneInFlightPerKey: flag,
    rotateEveryMs: ms(),
    statusEveryMs: ms(),
    drainMs: ms(0),
    clock: clockKind,
    random: callback,
  })
  if (minPollMs > maxPollMs) throw badOption('outboxRelay', 'minPollMs', `at most maxPollMs (${maxPollMs})`, minPollMs)
  if (minRetryMs > maxRetryMs)
    throw badOption('outboxRelay', 'minRetryMs', `at most maxRetryMs (${maxRetryMs})`, minRetryMs)

  const news = wake(clock)
  const owned = new Map<number, ShardLoop>()
  const activity = { lastMs: clock.now() }
  const attendEveryMs = Math.min(leaseMs / 5, 1000)
  let attendance: Attendance | null = null
  let attendedAtMs = -Infinity
  let lastError: unknown = null
  let claimError: string | null = null
  // Since when it holds no shard although it should.
  let emptySinceMs: number | null = null
  // Shards whose store failed, until one of their pages is settled.
  const failures = new Map<number, { readonly reason: string; readonly atMs: number }>()
  let state: 'new' | 'running' | 'stopped' | 'failed' = 'new'

  /** Runs one call of the store; where it fails, says so and goes on. */
  async function attempted<T>(operation: string, stop: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await untilAborted(stop, bounded(clock, leaseMs, work()))
    } catch (error) {
      // Told to stop, it does not wait for an answer; that is no failure of the store.
      if (stop.aborted) return undefined
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
    const now = await attempted('attend', stop, () => store.attend(name, leaseMs, { signal: stop }))
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
    if (owned.size >= now.share) claimError = null
    while (owned.size < now.share && !stop.aborted) {
      const sentAtMs = clock.now()
      const lease = await attempted('claim', stop, () => claimed(stop))
      claimError = lease === undefined ? textOf(lastError).errorMessage : null
      if (lease === undefined || lease === null) break
      const { shard, epoch } = lease
      if (shardChanged.active()) shardChanged.publish({ relay: name, shard, epoch, change: 'claimed' })
      const loop = shardLoop({
        ...{ relay: name, lease, publisher, news, leaseMs, leaseEndsMs: sentAtMs + leaseMs, batchRows, batchBytes },
        ...{ minPollMs, maxPollMs, duePollMs, publishTimeoutMs, minRetryMs, maxRetryMs, oneInFlightPerKey },
        ...{ clock, random, drained, activity, onProgress: () => void failures.delete(shard) },
      })
      owned.set(shard, loop)
      void loop.ended.then(({ change, error }) => {
        owned.delete(shard)
        if (error !== undefined) lastError = error
        if (change === 'failed')
          failures.set(shard, { reason: `shard ${shard}: ${textOf(error).errorMessage}`, atMs: clock.now() })
        if (shardChanged.active())
          shardChanged.publish({ relay: name, shard, epoch, change, ...(error === undefined ? {} : { error }) })
      })
    }
    if (owned.size > 0 || now.share === 0) emptySinceMs = null
    else emptySinceMs ??= clock.now()
  }

  /** Why it cannot do its work now; `null` where it can. */
  function trouble(): string | null {
    if (state !== 'running') return `the relay is ${state}`
    if (typeof attendance?.refused === 'string') return attendance.refused
    const now = clock.now()
    if (now - attendedAtMs >= 2 * leaseMs)
      return lastError === null ? 'the store has not answered yet' : textOf(lastError).errorMessage
    if (claimError !== null) return `no shard can be claimed: ${claimError}`
    const outages = [...owned.values()].map((loop) => loop.outage()).filter((outage) => outage !== null)
    const failed = [...failures.values()].filter(({ atMs }) => now - atMs < 2 * leaseMs).map(({ reason }) => reason)
    if (outages[0] !== undefined || failed[0] !== undefined) return outages[0] ?? failed[0] ?? null
    if (emptySinceMs !== null && now - emptySinceMs >= 2 * leaseMs)
      return `it holds none of the ${attendance?.shards ?? 0} shards, since others do not let go of them`
    return null
  }

  /** A shard that is claimed after nobody waits for it any more goes back at once. */
  function claimed(stop: AbortSignal): Promise<OutboxLease | null> {
    const claiming = store.claim(name, leaseMs, [...owned.keys()], { signal: stop })
    claiming.then((lease) => (stop.aborted ? lease?.release() : undefined)).catch(() => undefined)
    return claiming
  }

  async function rotate(stop: AbortSignal): Promise<void> {
    if (attendance === null || attendance.refused !== null) return
    const rotations = await attempted('rotate', stop, () => store.rotate({ signal: stop }))
    if (rotatedEvent.active())
      for (const { slot, result } of rotations ?? []) rotatedEvent.publish({ relay: name, slot, result })
  }

  async function tell(stop: AbortSignal): Promise<void> {
    if (!statusEvent.active()) return
    const status = await attempted('status', stop, () => store.status({ signal: stop }))
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
        await untilAborted(signal, bounded(clock, leaseMs, store.check({ signal })))
        return
      } catch (error) {
        if (isOver(signal)) return
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
        every(rotateEveryMs, signal, () => rotate(signal)),
        every(statusEveryMs, signal, () => tell(signal)),
      ])
      const loops = [...owned.values()]
      for (const loop of loops) loop.stop()
      const cancel = clock.after(drainMs, () =>
        drained.abort(new HoldfastError('timed-out', 'outbox: the relay stops')),
      )
      await Promise.all(loops.map(({ ended }) => ended))
      cancel()
      await attempted('leave', neverAborts, () => store.leave(name))
      state = 'stopped'
      if (endedEvent.active()) endedEvent.publish({ relay: name })
    },
    poke: () => news.poke(),
    health() {
      const outages = [...owned.values()].filter((loop) => loop.outage() !== null)
      const reason = trouble()
      return {
        name: `outbox relay ${name}`,
        live: state !== 'failed',
        ready: reason === null,
        details: {
          state,
          reason,
          owned: [...owned.keys()].sort((a, b) => a - b),
          shards: attendance?.shards ?? null,
          relays: attendance?.relays ?? null,
          refused: attendance?.refused ?? null,
          outage: outages[0]?.outage() ?? null,
          lastError: lastError === null ? null : textOf(lastError).errorMessage,
        },
      }
    },
  }
}

// Asked in a function, since the compiler takes what was false once for false.
const isOver = (signal: AbortSignal): boolean => signal.aborted

/** A database that never answers must not hold a relay for ever; what it answers later is ignored. */
function bounded<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () =>
      reject(new HoldfastError('timed-out', `outbox: the store did not answer within ${ms} ms`)),
    )
    work.then(resolve, reject).finally(cancel)
  })
}
