import { createHash } from 'node:crypto'
import type { OutboxRow } from '../../../outbox/store.ts'
import { textField } from '../rows.ts'

/** What the shard has read: everything visible in `snapshot`, and of a window that was stored all up to `pos`. */
export interface Place {
  readonly snapshot: string
  readonly window: StoredWindow | null
}

export interface StoredWindow {
  readonly to: string
  readonly pos: string
  readonly end: string
}

/**
 * Numbers the messages of a shard in the order in which they are published, so that a broker may drop what it has already.
 * The ids of the rows will not do: a transaction that commits late brings ids that are lower than those published before,
 * and a broker that goes by numbers would throw its messages away.
 * A repeat has its old number, because a page is stored before it is published, together with the number before it.
 */
export interface Numbering {
  /** Whose numbers these are. */
  readonly source: string
  /** The last number before the place that was claimed. */
  readonly last: number
  /** What is stored with a place. */
  record(place: Place, last: number): string
}

interface Numbered {
  readonly at: string
  readonly begun: string
  readonly last: number
}

/**
 * Goes on with the numbers that were stored with the claimed place. Where another relay moved the place and stored no
 * numbers, which of them were used is unknown: they begin again under another name.
 */
export function numberingOf(claimed: unknown, place: Place, scope: string, epoch: string): Numbering {
  const stored = numberedIn(textField(claimed, 'sequence'))
  const { begun, last } = stored?.at === digestOf(place) ? stored : { begun: epoch, last: 0 }
  return {
    source: `${scope}/${begun}`,
    last,
    record: (at, used) => JSON.stringify({ at: digestOf(at), begun, last: used } satisfies Numbered),
  }
}

export function numbered(rows: readonly OutboxRow[], source: string, last: number): readonly OutboxRow[] {
  return rows.map((row, at) => ({ ...row, sequence: { source, number: last + 1 + at } }))
}

/** A window of one page, to be stored before that is published. */
export function windowOf(rows: readonly OutboxRow[], to: string): StoredWindow {
  const [first, last] = [rows[0]?.position ?? '1', rows.at(-1)?.position ?? '0']
  return { to, pos: String(BigInt(first) - 1n), end: last }
}

/** A digest, since a snapshot with many open transactions is long. */
function digestOf({ snapshot, window }: Place): string {
  const parts = window === null ? [snapshot] : [snapshot, window.to, window.pos, window.end]
  return createHash('sha256').update(parts.join(' ')).digest('base64url')
}

function numberedIn(text: string | null): Numbered | undefined {
  return text === null ? undefined : (JSON.parse(text) as Numbered)
}
