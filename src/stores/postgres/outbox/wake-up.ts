import { sleep, systemClock, type Clock } from '../../../core/clock.ts'
import { emitter } from '../../../core/events.ts'
import { untilAborted } from '../../../core/signals.ts'
import { anything, checkOptions, clockKind, requireMethods, requireMs, text } from '../../../core/options.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkPool, type PoolClientSlice, type PoolSlice, type Queryable } from '../queryable.ts'

export interface PostgresOutboxNotifierOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** Shortest interval between two NOTIFYs of this process, in ms. @defaultValue 10 */
  readonly everyMs?: number
  readonly clock?: Clock
}

export interface PostgresOutboxNotifier {
  /** Call it after the commit. Returns at once and never throws. */
  notify(): void
}

const storeFailed = emitter('store-failed')

/**
 * Wakes relays in other processes that run {@link postgresOutboxListener}. If a NOTIFY is lost, polling finds the message.
 * It is sent after the commit: a NOTIFY inside the writers' transactions would make their commits wait for each other.
 */
export function postgresOutboxNotifier(
  pool: Queryable,
  options: PostgresOutboxNotifierOptions = {},
): PostgresOutboxNotifier {
  const {
    schema = 'holdfast',
    everyMs = 10,
    clock = systemClock,
  } = checkOptions('postgresOutboxNotifier', options, { schema: text, everyMs: anything, clock: clockKind })
  checkPool('postgresOutboxNotifier', pool)
  quotedSchema('postgresOutboxNotifier', schema)
  requireMs('postgresOutboxNotifier', { everyMs }, 0)
  let wanted = false
  let sending = false

  async function send(): Promise<void> {
    sending = true
    while (wanted) {
      wanted = false
      try {
        await pool.query(NOTIFY, [schema])
      } catch (error) {
        report('notify', error)
      }
      await new Promise<void>((resolve) => clock.after(everyMs, resolve))
    }
    sending = false
  }

  return {
    notify() {
      wanted = true
      if (!sending) void send()
    },
  }
}

export interface PostgresOutboxListenerOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** First wait after the connection was lost, in ms. It doubles each time. @defaultValue 100 */
  readonly minRetryMs?: number
  /** @defaultValue 10_000 */
  readonly maxRetryMs?: number
  readonly clock?: Clock
}

export interface PostgresOutboxListener {
  /**
   * Listens until the signal aborts, on one connection that it takes from the pool. If the connection is lost, it reports
   * `store-failed` and connects again; the relay polls meanwhile. Never rejects.
   */
  run(signal: AbortSignal): Promise<void>
}

/** A client of pg on which notifications arrive. */
export interface ListeningClientSlice extends PoolClientSlice {
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'end', listener: () => void): unknown
  on(event: 'notification', listener: (notification: { readonly channel: string }) => void): unknown
}

/**
 * Wakes this process's relay when another process has committed messages. The pool must connect directly to the server:
 * behind pgbouncer in transaction mode LISTEN succeeds but no notification arrives.
 */
export function postgresOutboxListener<Client extends ListeningClientSlice>(
  pool: PoolSlice<Client>,
  relay: { poke(): void },
  {
    schema = 'holdfast',
    minRetryMs = 100,
    maxRetryMs = 10_000,
    clock = systemClock,
  }: PostgresOutboxListenerOptions = {},
): PostgresOutboxListener {
  const channel = quotedSchema('postgresOutboxListener', schema)
  requireMethods('postgresOutboxListener', 'relay', relay, ['poke'])
  requireMs('postgresOutboxListener', { minRetryMs, maxRetryMs })

  async function listen(signal: AbortSignal, listening: () => void): Promise<void> {
    const connecting = pool.connect()
    const client = await untilAborted(signal, connecting).catch((error: unknown) => {
      // It came too late, or never.
      connecting.then((late) => late.release(), noClient)
      throw error
    })
    const { promise: ended, resolve, reject } = Promise.withResolvers<void>()
    // It may end while LISTEN is on its way, and then that says so.
    ended.catch(() => {})
    client.on('error', reject)
    client.on('end', () => reject(new Error('outbox: the connection that listens has ended')))
    client.on('notification', (notification) => {
      if (notification.channel === schema) relay.poke()
    })
    const aborted = (): void => resolve()
    signal.addEventListener('abort', aborted)
    try {
      signal.throwIfAborted()
      await Promise.race([client.query(`listen ${channel}`, []), ended])
      signal.throwIfAborted()
      listening()
      // What was committed before we listened.
      relay.poke()
      await ended
    } finally {
      signal.removeEventListener('abort', aborted)
      // Not to be lent to anybody else: it listens.
      client.release(true)
    }
  }

  return {
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        try {
          await listen(signal, () => (failures = 0))
        } catch (error) {
          reportListening(error, signal)
          await sleep(clock, Math.min(maxRetryMs, minRetryMs * 2 ** failures++), signal).catch(() => {})
        }
      }
    },
  }
}

/** At the end it is the wait that failed, not the store. */
function reportListening(error: unknown, { aborted }: AbortSignal): void {
  if (!aborted) report('listen', error)
}

const noClient = (): void => undefined

// The channel has the name of the schema: both are 63 bytes at most.
const NOTIFY = "select pg_notify($1, 'outbox')"

function report(operation: string, error: unknown): void {
  if (storeFailed.active()) storeFailed.publish({ store: 'postgresql', operation, error })
}
