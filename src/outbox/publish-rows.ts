import { sleep, type Clock } from '../core/clock.ts'
import { HoldfastError, textOf } from '../core/errors.ts'
import { failuresIn, type Outgoing, type Publisher } from '../core/publisher.ts'
import { plainText } from '../core/text.ts'
import { hasExpired } from './expiry.ts'
import type { DeadRow, OutboxRow } from './store.ts'

export interface PublishRowsOptions {
  readonly publisher: Publisher
  readonly timeoutMs: number
  readonly minRetryMs: number
  readonly maxRetryMs: number
  readonly oneInFlightPerKey: boolean
  readonly clock: Clock
  readonly random: () => number
  /** The broker did not take it; it is tried again after `nextInMs`. */
  readonly onOutage: (error: unknown, nextInMs: number) => void
  readonly onDead: (row: OutboxRow, error: unknown) => void
  /** It expired before the broker had it; it is not sent. */
  readonly onExpired: (row: OutboxRow) => void
}

/**
 * Publishes rows in order until each is confirmed, refused for good or expired, and resolves to the refused ones. An
 * outage is waited out; only the signal ends it.
 */
export function publishRows({
  publisher,
  timeoutMs,
  minRetryMs,
  maxRetryMs,
  oneInFlightPerKey,
  clock,
  random,
  onOutage,
  onDead,
  onExpired,
}: PublishRowsOptions): (rows: readonly OutboxRow[], signal: AbortSignal) => Promise<readonly DeadRow[]> {
  /** The rows that were not confirmed, with what was said of each; throws for an outage. */
  async function send(rows: readonly OutboxRow[], signal: AbortSignal): Promise<readonly Refused[]> {
    try {
      await bounded(rows, signal)
      return []
    } catch (error) {
      const failures = failuresIn(error, rows.length)
      if (failures === undefined) throw error
      return failures.map(({ index, ...rest }) => ({ row: rows[index] as OutboxRow, ...rest }))
    }
  }

  // A confirmation that never comes must not hold the shard: what is unknown is published again under the same id.
  function bounded(messages: readonly Outgoing[], signal: AbortSignal): Promise<void> {
    const attempt = new AbortController()
    return new Promise((resolve, reject) => {
      const aborted = (): void => fail(signal.reason)
      const cancel = clock.after(timeoutMs, () =>
        fail(new HoldfastError('timed-out', `outbox: no confirmation within ${timeoutMs} ms`)),
      )
      const settle = (): void => {
        cancel()
        signal.removeEventListener('abort', aborted)
      }
      function fail(reason: unknown): void {
        settle()
        attempt.abort(reason)
        reject(asError(reason))
      }
      if (signal.aborted) return aborted()
      signal.addEventListener('abort', aborted)
      publisher.publish(messages, { signal: attempt.signal }).then(
        () => {
          settle()
          resolve()
        },
        (error: unknown) => {
          settle()
          reject(asError(error))
        },
      )
    })
  }

  async function publishAll(
    rows: readonly OutboxRow[],
    readAtMs: number,
    signal: AbortSignal,
  ): Promise<readonly DeadRow[]> {
    const dead: DeadRow[] = []
    let left = rows
    let failures = 0
    for (;;) {
      // Before every try: an outage may outlast them.
      const expired = new Set(left.filter((row) => hasExpired(row, clock.now() - readAtMs)))
      expired.forEach(onExpired)
      if (expired.size > 0) left = left.filter((row) => !expired.has(row))
      if (left.length === 0) break
      try {
        const refused = await send(left, signal)
        if (left.length === 1 && refused[0]?.permanent === true) {
          const [{ row, error }] = refused as [Refused]
          onDead(row, error)
          return [{ position: row.position, error: lineOf(error) }]
        }
        left = refused.map(({ row }) => row)
        if (refused.length === 0) break
        if (refused.some(({ permanent }) => permanent)) {
          // A broker may refuse a whole batch for its size or for one message: only alone is a message judged.
          for (const row of left) dead.push(...(await publishAll([row], readAtMs, signal)))
          break
        }
        await backOff(refused[0]?.error, signal)
      } catch (error) {
        if (signal.aborted) throw error
        await backOff(error, signal)
      }
    }
    return dead

    function backOff(error: unknown, until: AbortSignal): Promise<void> {
      const mostMs = Math.min(maxRetryMs, minRetryMs * 2 ** failures++)
      const nextInMs = mostMs / 2 + (random() * mostMs) / 2
      onOutage(error, nextInMs)
      return sleep(clock, nextInMs, until)
    }
  }

  return async (rows, signal) => {
    const readAtMs = clock.now()
    if (!oneInFlightPerKey) return publishAll(rows, readAtMs, signal)
    const dead: DeadRow[] = []
    for (const round of roundsOf(rows)) dead.push(...(await publishAll(round, readAtMs, signal)))
    return dead
  }
}

interface Refused {
  readonly row: OutboxRow
  readonly error: unknown
  readonly permanent: boolean
}

/** The first of each key, then the second of each, …: so a key's next message waits for the confirmation of the last. */
function roundsOf(rows: readonly OutboxRow[]): readonly OutboxRow[][] {
  const rounds: OutboxRow[][] = []
  const depth = new Map<string, number>()
  for (const row of rows) {
    const key = row.key === null ? null : `${row.destination.length}:${row.destination}${row.key}`
    const round = key === null ? 0 : (depth.get(key) ?? 0)
    if (key !== null) depth.set(key, round + 1)
    ;(rounds[round] ??= []).push(row)
  }
  return rounds
}

function lineOf(error: unknown): string {
  const { errorName, errorMessage } = textOf(error)
  return plainText(`${errorName}: ${errorMessage}`)
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason })
}
