import { checkArgument, text } from '../../../core/options.ts'
import type { LetterOperations } from '../../../dead-letter/store.ts'
import type { OperatorStore } from '../../../operations/store.ts'
import { storable } from '../dead-letter/rows.ts'
import { sqlState } from '../failures.ts'
import { flagField, numberField } from '../rows.ts'
import type { ClaimContext } from './claims.ts'

type Erasing = Required<Pick<OperatorStore, 'erase' | 'erasable'>>

/** Erases a subject: its letters, and the rows whose key it is. What a worker runs at this moment is left, and counted. */
export function erasure({
  run,
  ask,
  quoted,
  note,
  letters,
}: ClaimContext & { readonly letters: LetterOperations }): Erasing {
  // A lane is one key: its first row goes only if no worker holds the lane, which is due then, so that it ends. A worker that
  // comes meanwhile changes the row of the lane first, and this statement sees it.
  // The text of a longer key is cut: it may be that of another.
  const ofKey = 'p.key_text = $1 and length($1::text) < 200'
  const parkedSql = `
with mine as materialized (
  select p.pipeline, p.lane, p.seq,
    p.seq = (select min(f.seq) from ${quoted}.parked as f where f.pipeline = p.pipeline and f.lane = p.lane) as is_head
  from ${quoted}.parked as p where ${ofKey}),
woken as (
  update ${quoted}.parked_lane as l set next_at = clock_timestamp()
  from (select pipeline, lane from mine where is_head) as h
  where l.pipeline = h.pipeline and l.lane = h.lane and (l.token is null or l.next_at <= clock_timestamp())
  returning l.pipeline, l.lane),
gone as (
  delete from ${quoted}.parked as p using mine as m
  where p.pipeline = m.pipeline and p.lane = m.lane and p.seq = m.seq
    and (not m.is_head or exists (select from woken as w where w.pipeline = m.pipeline and w.lane = m.lane))
  returning 1)
select (select count(*) from gone)::int as gone, (select count(*) from mine)::int as found`

  const outboxTables = ['outbox', 'outbox_delayed', 'outbox_dead'] as const
  // By the index on the hash, as the letters are found when they are erased.
  const lettersSql = `
select count(*)::int as n from ${quoted}.dead_letter as d
where hashtextextended(d.subject, 0) = hashtextextended($1::text collate "C", 0) and d.subject = $1`
  // A schema may hold some features alone.
  const thereSql = `select to_regclass('${quoted}.dead_letter') is not null as dies,
  to_regclass('${quoted}.parked') is not null as parks, to_regclass('${quoted}.outbox') is not null as sends`

  async function there(): Promise<{ readonly dies: boolean; readonly parks: boolean; readonly sends: boolean }> {
    const [row] = (await ask(thereSql, [])).rows
    return { dies: flagField(row, 'dies'), parks: flagField(row, 'parks'), sends: flagField(row, 'sends') }
  }

  async function counted(table: string, subject: string, condition = 'p.key = $1'): Promise<number> {
    const { rows } = await ask(`select count(*)::int as n from ${quoted}.${table} as p where ${condition}`, [subject])
    return numberField(rows[0], 'n')
  }

  /** How many rows; `null` if PostgreSQL deletes none: a publication of all tables, and rows without an identity. */
  async function deleted(table: string, subject: string): Promise<number | null> {
    try {
      return (await run(`delete from ${quoted}.${table} where key = $1`, [subject])).rowCount ?? 0
    } catch (error) {
      if (sqlState(error) === '55000') return null
      throw error
    }
  }

  return {
    async erasable(subject) {
      checkArgument('erasable', 'subject', subject, text)
      const kept = storable(subject)
      const { dies, parks, sends } = await there()
      const waiting = sends ? await Promise.all(outboxTables.map((table) => counted(table, kept))) : []
      return {
        letters: dies ? numberField((await ask(lettersSql, [kept])).rows[0], 'n') : 0,
        parked: parks ? await counted('parked', kept, ofKey) : 0,
        outbox: waiting.reduce((sum, each) => sum + each, 0),
        left: 0,
      }
    },
    async erase(subject, by) {
      checkArgument('erase', 'subject', subject, text)
      checkArgument('erase', 'by', by, text)
      const kept = storable(subject)
      const { dies, parks, sends } = await there()
      const erased = { letters: dies ? await letters.erase({ subject }, by) : 0, parked: 0, outbox: 0, left: 0 }
      if (parks) {
        const [row] = (await run(parkedSql, [kept])).rows
        erased.parked = numberField(row, 'gone')
        erased.left += numberField(row, 'found') - erased.parked
      }
      for (const table of sends ? outboxTables : []) {
        const gone = await deleted(table, kept)
        if (gone === null) erased.left += await counted(table, kept)
        else erased.outbox += gone
      }
      // The log names nobody: else the person would live on in it.
      if (dies) await note(by, 'erase', erased)
      return erased
    },
  }
}
