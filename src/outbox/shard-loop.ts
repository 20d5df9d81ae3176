import type { Clock } from '../core/clock.ts'
import { HoldfastError, textOf } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import { untilAborted } from '../core/signals.ts'
import type { Publisher } from '../core/publisher.ts'
import { expiryOf } from './expiry.ts'
import { publishRows } from './publish-rows.ts'
import type { DeadRow, OutboxLease, OutboxRow } from './store.ts'
import type { Wake } from './wake.ts'

export interface ShardLoopParts {
  readonly relay: string
  readonly lease: OutboxLease
  readonly publisher: Publisher
  readonly news: Wake
  readonly leaseMs: number
  /** On the local clock, counted from before the claim was sent. */
  readonly leaseEndsMs: number
  readonly batchRows: number
  readonly batchBytes: number
  readonly minPollMs: number
  readonly maxPollMs: number
  readonly duePollMs: number
  readonly publishTimeoutMs: number
  readonly minRetryMs: number
  readonly maxRetryMs: number
  readonly oneInFlightPerKey: boolean
  readonly clock: Clock
  readonly random: () => number
  /** Aborts when even what was begun has to end. */
  readonly drained: AbortSignal
  /** Called whenever a page was settled, or there was none to publish. */
  readonly onProgress: () => void
  /** When any shard of the relay last had something to publish. */
  readonly activity: { lastMs: number }
}

export interface ShardLoop {
  /** After the page at hand the shard goes back. */
  stop(): void
  /** Why nothing is published right now; `null` while it is. */
  outage(): string | null
  /** Never rejects. */
  readonly ended: Promise<Ending>
}

interface Ending {
  readonly change: 'released' | 'lost' | 'failed'
  readonly error?: unknown
}

const published = emitter('outbox-published')
const outageEvent = emitter('outbox-outage')
const deadEvent = emitter('outbox-dead')
const expiredEvent = emitter('outbox-expired')

/** Reads, publishes and settles one shard, page after page, for as long as its lease holds. */
export function shardLoop(parts: ShardLoopParts): ShardLoop {
  const {
    relay,
    lease,
    news,
    leaseMs,
    batchRows,
    batchBytes,
    minPollMs,
    maxPollMs,
    duePollMs,
    clock,
    drained,
    activity,
  } = parts
  const { shard } = lease
  const stopping = new AbortController()
  // Aborts the publishing of a shard that is no longer ours.
  const gone = new AbortController()
  let endsMs = parts.leaseEndsMs
  let outage: string | null = null
  // Of the page at hand.
  let expiredRows = 0
  drained.addEventListener('abort', () => gone.abort(drained.reason), { signal: gone.signal })

  const publish = publishRows({
    ...parts,
    timeoutMs: parts.publishTimeoutMs,
    onOutage(error, nextInMs) {
      outage = textOf(error).errorMessage
      if (outageEvent.active()) outageEvent.publish({ relay, shard, error, nextInMs })
    },
    onDead(row, error) {
      const { id: messageId, destination } = row
      if (deadEvent.active()) deadEvent.publish({ relay, shard, messageId, destination, error })
    },
    onExpired(row) {
      expiredRows++
      const { id: messageId, destination } = row
      if (expiredEvent.active())
        expiredEvent.publish({ relay, shard, messageId, destination, expiredMs: expiryOf(row) ?? 0 })
    },
  })

  /** What is not answered before the lease ends is as good as lost. */
  async function held<T>(call: Promise<T | 'lost'>): Promise<T> {
    const answer = await before(endsMs, call)
    if (answer === 'lost') throw lost
    return answer
  }

  async function renewLease(): Promise<void> {
    const sentAtMs = clock.now()
    await held(lease.renew())
    endsMs = sentAtMs + leaseMs
  }

  function before<T>(deadlineMs: number, work: Promise<T>): Promise<T> {
    const inTime = new Promise<T>((resolve, reject) => {
      const cancel = clock.after(deadlineMs - clock.now(), () => reject(expired))
      work.then(resolve, reject).finally(cancel)
    })
    return untilAborted(drained, inTime)
  }

  /** Keeps the lease while a page is being published, and ends the publishing when that fails. */
  function renewing(): () => void {
    let cancel = clock.after(leaseMs / 3, renew)
    let ended = false
    async function renew(): Promise<void> {
      try {
        await renewLease()
      } catch (error) {
        if (error === lost || clock.now() >= endsMs) return gone.abort(error)
      }
      if (!ended) cancel = clock.after(leaseMs / 3, renew)
    }
    return () => {
      ended = true
      cancel()
    }
  }

  async function publishPage(rows: readonly OutboxRow[]): Promise<void> {
    // A process that was paused must not send what another relay may have sent meanwhile.
    if (clock.now() > endsMs - leaseMs / 3) await renewLease()
    const startedMs = clock.now()
    expiredRows = 0
    const stopRenewing = renewing()
    let dead: readonly DeadRow[]
    try {
      dead = await publish(rows, gone.signal)
    } finally {
      stopRenewing()
    }
    outage = null
    const publishMs = clock.now() - startedMs
    await held<'ok'>(lease.settle(dead))
    parts.onProgress()
    if (!published.active()) return
    const lagMs = rows.reduce((most, { ageMs }) => Math.max(most, ageMs), 0) + publishMs
    published.publish({
      relay,
      shard,
      messages: rows.length - dead.length - expiredRows,
      dead: dead.length,
      lagMs,
      publishMs,
    })
  }

  /** Whether there is likely more where this came from. */
  function isFull(rows: readonly OutboxRow[]): boolean {
    if (rows.length > batchRows / 2) return true
    return rows.reduce((bytes, { body }) => bytes + (body?.byteLength ?? 0), 0) > batchBytes / 2
  }

  async function run(): Promise<Ending> {
    // Not at once: what is there already comes first.
    let dueAtMs = clock.now() + parts.random() * duePollMs
    try {
      while (!stopping.signal.aborted) {
        const seen = news.pokes()
        if (clock.now() >= dueAtMs) {
          const moved = await before(endsMs, lease.moveDue(batchRows))
          if (moved < batchRows) dueAtMs = clock.now() + duePollMs
        }
        if (clock.now() > endsMs - leaseMs / 2) await renewLease()
        const rows = await held<readonly OutboxRow[]>(lease.read(batchRows, batchBytes))
        if (rows.length > 0) {
          await publishPage(rows)
          activity.lastMs = clock.now()
          if (isFull(rows)) continue
        } else parts.onProgress()
        // A tenth of the time since any shard had a message: what comes at a steady rate is found soon, and idling
        // costs little. Where several come at a time, a look costs writers more than a message does: more are left to
        // gather.
        const leastMs = rows.length > 1 ? minPollMs * gathering : minPollMs
        const idleMs = Math.min(maxPollMs, Math.max(leastMs, (clock.now() - activity.lastMs) / 10))
        await news.wait(idleMs, seen, stopping.signal)
      }
      await before(clock.now() + leaseMs, lease.release())
      return { change: 'released' }
    } catch (error) {
      gone.abort(error)
      if (error === lost) return { change: 'lost' }
      return { change: 'failed', error }
    } finally {
      // Takes the listener off the signal of the relay, which outlives its shards.
      gone.abort()
    }
  }

  return { stop: () => stopping.abort(), outage: () => outage, ended: run() }
}

/** How many times the shortest wait a shard waits where messages come several at a time. */
const gathering = 4

const lost = new HoldfastError('unavailable', 'outbox: another relay holds the shard')
const expired = new HoldfastError('timed-out', 'outbox: the store did not answer before the lease ended')
