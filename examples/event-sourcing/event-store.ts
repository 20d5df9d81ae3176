import { RetryLater } from 'holdfast'
import type pg from 'pg'
import type { CardEvent } from './card.ts'

/** The part of a client that runs statements: the transaction's, or a pool. */
export type Runner = Pick<pg.ClientBase, 'query'>

export interface Stream {
  readonly version: number
  readonly events: readonly CardEvent[]
}

/** An event store in two statements, on a table of your own. It runs in the transaction that you give it. */
export interface EventStore {
  load(tx: Runner, stream: string): Promise<Stream>
  /** @throws RetryLater when somebody else has appended since `version` was loaded. */
  append(tx: Runner, stream: string, version: number, events: readonly CardEvent[]): Promise<void>
}

/** `checked: false` leaves out the key that makes one version one event: what optimistic concurrency is for. */
export const eventTables = (schema: string, { checked }: { readonly checked: boolean }): string => `
create table ${schema}.event (
  stream text not null, version int not null, type text not null, data jsonb not null,
  at timestamptz not null default now()${checked ? ', primary key (stream, version)' : ''});
create table ${schema}.card_view (card text primary key, cents int not null, events int not null);
create table ${schema}.takings (day date primary key, cents bigint not null, payments int not null)`

const uniqueViolation = '23505'

export function eventStore(schema: string): EventStore {
  const load = `select version, type, data from ${schema}.event where stream = $1 order by version`
  // The key of the table is the lock: of two who loaded the same version, one inserts.
  const append = `insert into ${schema}.event (stream, version, type, data)
    select $1, $2::int + at, event ->> 'type', event from jsonb_array_elements($3::jsonb) with ordinality as e (event, at)`

  return {
    async load(tx, stream) {
      const { rows } = await tx.query<{ version: number; data: CardEvent }>(load, [stream])
      return { version: rows.at(-1)?.version ?? 0, events: rows.map(({ data }) => data) }
    },
    async append(tx, stream, version, events) {
      try {
        await tx.query(append, [stream, version, JSON.stringify(events)])
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === uniqueViolation)) throw error
        // Not a failure of the message: it comes again soon, finds what the other one did, and decides anew.
        throw new RetryLater(5 + Math.random() * 45, { because: `${stream} was changed meanwhile`, cause: error })
      }
    },
  }
}
