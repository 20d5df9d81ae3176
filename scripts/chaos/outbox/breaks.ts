import { registerHooks } from 'node:module'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'naive-cursor': 'reads "id > cursor", as most outboxes do',
  'order-by-xid': 'reads below the oldest running transaction, ordered by transaction',
  'no-guard': 'truncates without looking whether everything was read',
  'no-epoch': 'settles and renews without asking whose lease it is',
  'reopen-window': 'a takeover opens a fresh window and keeps the position of the old one',
  'endless-page': 'a page goes beyond what was visible when its window was opened',
} as const

export type BreakName = keyof typeof breaks

export function isBreakName(name: string): name is BreakName {
  return Object.hasOwn(breaks, name)
}

interface Patch {
  readonly file: string
  readonly from: string
  readonly to: string
}

const patches: Readonly<Record<string, readonly Patch[]>> = {
  'no-guard': [
    {
      file: 'postgres/outbox/rotation.ts',
      from: "else if (field((await run(statements.busy(slot), [])).rows[0], 'busy') === true)",
      to: 'else if (false)',
    },
    { file: 'postgres/outbox/rotation.ts', from: "if (field(rows[0], 'busy') !== false) return 'busy'", to: '' },
  ],
  'no-epoch': [
    {
      file: 'postgres/outbox/statements.ts',
      from: 'where shard = $1 and epoch = $2::bigint and cluster = ${cluster} and ${schema}.outbox_timeline() = $3',
      to: 'where shard = $1 and $2::bigint is not null and cluster = ${cluster} and ${schema}.outbox_timeline() = $3',
    },
  ],
  'reopen-window': [
    {
      file: 'postgres/outbox/statements.ts',
      from: "const position = 'snapshot::text, win_to::text, win_pos::text, win_end::text'",
      to: "const position = `snapshot::text, case when win_to is not null then pg_current_snapshot()::text end as win_to, win_pos::text, case when win_to is not null then '9223372036854775807' end as win_end`",
    },
  ],
  'endless-page': [
    {
      file: 'postgres/outbox/statements.ts',
      from: 'shard = $1 and id <= $7::bigint and pg_visible_in_snapshot(txid, $3::pg_snapshot)',
      to: 'shard = $1 and $7::bigint is not null and $3::pg_snapshot is not null',
    },
  ],
}

/** Changes the source as it is loaded; call it before the modules are imported. Fails where the source has moved on. */
export function plant(name: string | undefined): void {
  const wanted = patches[name ?? '']
  if (wanted === undefined) return
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const here = wanted.filter(({ file }) => url.endsWith(file))
      if (here.length === 0) return loaded
      let source = Buffer.from(loaded.source as Uint8Array).toString()
      for (const { file, from, to } of here) {
        if (!source.includes(from)) throw new Error(`cannot plant ${name}: ${file} has changed`)
        source = source.replaceAll(from, to)
      }
      return { ...loaded, source }
    },
  })
}
