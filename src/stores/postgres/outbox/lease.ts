import type { Clock } from '../../../core/clock.ts'
import { emitter } from '../../../core/events.ts'
import { asciiText, plainText } from '../../../core/text.ts'
import { outboxIdHeader, withHeaders } from '../../../core/message.ts'
import { headersFromJson } from '../../../outbox/headers-json.ts'
import type { DeadRow, OutboxLease, OutboxRow } from '../../../outbox/store.ts'
import { sqlState } from '../failures.ts'
import { numbered, numberingOf, windowOf, type Place, type StoredWindow } from './numbering.ts'
import { parseSnapshot } from './snapshot.ts'
import type { OutboxStatements } from './statements.ts'
import type { QueryAnswer } from '../queryable.ts'
import { flagField, numberField, textField } from '../rows.ts'

export interface LeaseParts {
  /** The answer of the claim. */
  readonly claimed: unknown
  readonly leaseMs: number
  readonly persistEveryMs: number
  readonly flushedOnly: boolean
  readonly sequences: boolean
  readonly statements: OutboxStatements
  readonly run: (text: string, values: unknown[]) => Promise<QueryAnswer>
  /** Runs one statement under a lock that others may hold; then it is not run. */
  readonly runUnderLock: (lock: string, text: string, values: unknown[]) => Promise<QueryAnswer | 'locked'>
  readonly clock: Clock
}

interface Position extends Place {
  /** The number of the last message before it, where they are numbered. */
  readonly last: number
}

interface Page {
  readonly rows: readonly OutboxRow[]
  readonly next: Place
}

const windowEvent = emitter('outbox-window')

/** One leased shard: the windows of it, one after the other. */
export function postgresOutboxLease({
  claimed,
  leaseMs,
  persistEveryMs,
  flushedOnly,
  sequences,
  statements,
  run,
  runUnderLock,
  clock,
}: LeaseParts): OutboxLease {
  const shard = numberField(claimed, 'shard')
  const epoch = text(claimed, 'epoch')
  const timeline = text(claimed, 'timeline')
  const prefix = `${text(claimed, 'source')}/${Number.parseInt(timeline, 16)}/`
  // A stored window is continued where it was; opened afresh, its position would skip rows.
  const place: Place = { snapshot: text(claimed, 'snapshot'), window: storedWindow(claimed) }
  const numbering = sequences ? numberingOf(claimed, place, `${prefix}${shard}`, epoch) : null
  let at: Position = { ...place, last: numbering?.last ?? 0 }
  // The window was stored only so that its one page keeps its numbers.
  let isNumberedPage = false
  // Where the shard stands once what was read last is settled.
  let pending: Position | null = null
  // Published since the position was stored.
  let dirty = false
  // The page after the one at hand, on its way while that is being published.
  let ahead: { readonly window: StoredWindow; readonly page: Promise<Page> } | null = null
  let storedAtMs = clock.now()
  // The server's clock ahead of ours: how old a message is, is a matter of the one that stamped it.
  let skewMs = numberField(claimed, 'now_ms') - clock.wall()
  let lost = false

  async function persist(position: Position, dead: readonly DeadRow[] = []): Promise<boolean> {
    const { snapshot, window } = position
    const sentAtMs = clock.now()
    const advance = (errors: readonly string[]): Promise<QueryAnswer> =>
      run(statements.advance, [
        ...[shard, epoch, timeline, snapshot],
        ...[window?.to ?? null, window?.pos ?? null, window?.end ?? null, leaseMs],
        ...[dead.map((row) => row.position), errors],
        ...(numbering === null ? [] : [numbering.record(position, position.last)]),
      ])
    const errors = dead.map(({ error }) => plainText(error))
    const { rows } = await advance(errors).catch((error: unknown) => {
      // The text of an error may have characters that the encoding of this database lacks; the page must move on.
      if (errors.length === 0 || sqlState(error)?.startsWith('22') !== true) throw error
      return advance(errors.map(asciiText))
    })
    if (numberField(rows[0], 'held') !== 1) return !(lost = true)
    dirty = false
    storedAtMs = sentAtMs
    return true
  }

  /** Everything new, where that is one page at most; else the window is stored and read page by page. */
  async function open(maxRows: number, maxBytes: number): Promise<Page | 'lost' | 'spanned'> {
    const { xmax, running } = parseSnapshot(at.snapshot)
    const { rows } = await run(statements.open, [shard, xmax, running, maxRows + 1, maxBytes])
    const head = rows.find((row) => numberField(row, 'branch') === 0)
    // In memory the snapshot may be ahead of the stored one; on another timeline it hides what is new there.
    if (text(head, 'timeline') !== timeline) return lose()
    const found = rows.filter((row) => numberField(row, 'branch') !== 0)
    if (found.length > maxRows || found.some((row) => flagField(row, 'cut'))) return span(xmax, running)
    if (flushedOnly && found.length > 0) await flushed(text(head, 'lsn'))
    skewMs = numberField(head, 'now_ms') - clock.wall()
    const page = found.map(rowFrom).sort(byPosition)
    return { rows: page, next: { snapshot: text(head, 'sn'), window: null } }
  }

  async function span(xmax: string, running: readonly string[]): Promise<'lost' | 'spanned'> {
    const { rows } = await run(statements.span, [shard, xmax, running])
    const [bounds] = rows
    if (flushedOnly) await flushed(text(bounds, 'lsn'))
    if (windowEvent.active()) windowEvent.publish({ shard, messages: numberField(bounds, 'messages') })
    const window = { to: text(bounds, 'sn'), pos: text(bounds, 'pos'), end: text(bounds, 'last') }
    // Before any page of it: a successor that opened another window would go on at a position of this one.
    at = { ...at, window }
    return (await persist(at)) ? 'spanned' : 'lost'
  }

  async function paged(position: Place, window: StoredWindow, maxRows: number, maxBytes: number): Promise<Page> {
    const wanted = ahead?.window === window ? ahead.page : page(position, window, maxRows, maxBytes)
    ahead = null
    const found = await wanted
    const { next } = found
    if (next.window !== null) {
      ahead = { window: next.window, page: page(next, next.window, maxRows, maxBytes) }
      // The next reader hears of a failure. There may be none.
      ahead.page.catch(() => {})
    }
    return found
  }

  async function page({ snapshot }: Place, window: StoredWindow, maxRows: number, maxBytes: number): Promise<Page> {
    const { rows } = await run(statements.page, [
      ...[shard, window.pos, window.to, snapshot],
      ...[maxRows, maxBytes, window.end],
    ])
    const end = BigInt(window.end)
    const last = rows.length === 0 ? null : text(rows.at(-1), 'id')
    const over = last === null || BigInt(last) >= end
    return {
      rows: rows.filter((row) => flagField(row, 'ok')).map(rowFrom),
      next: over ? { snapshot: window.to, window: null } : { snapshot, window: { ...window, pos: last } },
    }
  }

  /** Waits until what is visible is also on the disk, so that no crash of the server can take it back. */
  async function flushed(lsn: string): Promise<void> {
    for (;;) {
      const { rows } = await run(statements.flushed, [lsn])
      if (flagField(rows[0], 'flushed')) return
      await new Promise<void>((resolve) => clock.after(5, resolve))
    }
  }

  function rowFrom(row: unknown): OutboxRow {
    const position = text(row, 'id')
    const timeMs = numberField(row, 'time_ms')
    const payload = textField(row, 'payload')
    return {
      position,
      destination: text(row, 'topic'),
      key: textField(row, 'key'),
      type: text(row, 'type'),
      id: text(row, 'message_id'),
      headers: withHeaders(headersFromJson(textField(row, 'headers')), { [outboxIdHeader]: prefix + position }),
      body: payload === null ? null : Buffer.from(payload, 'base64'),
      timeMs,
      ageMs: Math.max(0, clock.wall() + skewMs - timeMs),
    }
  }

  /** Stored first: after a crash, what is published here must come again in the same order, and nothing in between. */
  async function keepNumbers({ rows, next }: Page): Promise<boolean> {
    at = { ...at, window: windowOf(rows, next.snapshot) }
    isNumberedPage = true
    return persist(at)
  }

  function moveTo(next: Position): void {
    const isOver = at.window !== null && next.window === null && !isNumberedPage
    if (isOver && windowEvent.active()) windowEvent.publish({ shard, messages: 0 })
    isNumberedPage = false
    at = next
  }

  function lose(): 'lost' {
    lost = true
    return 'lost'
  }

  return {
    shard,
    epoch: BigInt(epoch),
    async read(maxRows, maxBytes) {
      for (;;) {
        if (lost) return 'lost'
        pending = null
        const { window } = at
        const found = window === null ? await open(maxRows, maxBytes) : await paged(at, window, maxRows, maxBytes)
        if (found === 'lost') return 'lost'
        if (found === 'spanned') continue
        if (found.rows.length > 0) {
          pending = { ...found.next, last: at.last + found.rows.length }
          if (numbering === null) return found.rows
          if (window === null && !(await keepNumbers(found))) return 'lost'
          return numbered(found.rows, numbering.source, at.last)
        }
        // Nothing to publish: the position moves in memory, and a window that is over may be followed by another.
        moveTo({ ...found.next, last: at.last })
        if (window !== null) {
          dirty = true
          continue
        }
        const sinceMs = clock.now() - storedAtMs
        if (((dirty && sinceMs >= persistEveryMs) || sinceMs >= leaseMs / 3) && !(await persist(at))) return 'lost'
        return []
      }
    },
    async settle(dead) {
      if (lost) return 'lost'
      const paged = at.window !== null && !isNumberedPage
      if (pending !== null) moveTo(pending)
      pending = null
      dirty = true
      // A small window costs no write of its own: a crash repeats what was published since the last one.
      const due = paged || dead.length > 0 || clock.now() - storedAtMs >= persistEveryMs
      return !due || (await persist(at, dead)) ? 'ok' : 'lost'
    },
    async renew() {
      if (lost) return 'lost'
      const { rows } = await run(statements.renew, [shard, epoch, timeline, leaseMs])
      return rows.length === 1 ? 'ok' : lose()
    },
    async moveDue(maxRows) {
      const due = await run(statements.due, [shard])
      if (!flagField(due.rows[0], 'due')) return 0
      const moved = await runUnderLock(statements.lockMoving, statements.moveDue, [shard, epoch, maxRows])
      return moved === 'locked' ? 0 : (moved.rowCount ?? 0)
    },
    async release() {
      if (lost || !(await persist(at))) return
      lost = true
      await run(statements.release, [shard, epoch])
    },
  }
}

function storedWindow(claimed: unknown): StoredWindow | null {
  const to = textField(claimed, 'win_to')
  return to === null ? null : { to, pos: text(claimed, 'win_pos'), end: text(claimed, 'win_end') }
}

function byPosition(a: OutboxRow, b: OutboxRow): number {
  return BigInt(a.position) < BigInt(b.position) ? -1 : 1
}

function text(row: unknown, name: string): string {
  const value = textField(row, name)
  if (value === null) throw new TypeError(`outbox: the database sent no ${name}`)
  return value
}
