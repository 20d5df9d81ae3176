import { checkArgument, checkOptions, count, number, oneOf, text } from '../../../core/options.ts'
import type {
  ActiveRedrive,
  LetterOperations,
  Redrive,
  RedriveOptions,
  RedriveResult,
  RedriveRoute,
  RedriveState,
  RedriveStore,
} from '../../../dead-letter/store.ts'
import { field, numberField, textField } from '../rows.ts'
import { conditionOf, isLetterId, orderFor } from './filter.ts'
import type { LetterContext } from './context.ts'
import { redriveStatements } from './redrive-statements.ts'
import { letterColumns, letterFrom, storable, storableJson } from './rows.ts'

type Part = Pick<
  LetterOperations,
  'preview' | 'create' | 'redrives' | 'redrive' | 'redriveItems' | 'pause' | 'resume' | 'cancel'
> &
  Omit<RedriveStore, 'resolved' | 'diedAgain' | 'clean'>

export function redriveOperations({ run, ask, quoted, bodies }: LetterContext): Part {
  const sql = redriveStatements(quoted)
  const redriveColumns = `r.id::text, r.state, r.route, r.by, r.filter::text, r.per_second, r.canary, r.max_redrives, r.total,
  extract(epoch from r.created_at)::float8 * 1000 as created_ms, extract(epoch from r.ended_at)::float8 * 1000 as ended_ms,
  (select coalesce(jsonb_object_agg(coalesce(c.result, 'open'), c.n), '{}')::text from (
    select i.result, count(*) as n from ${quoted}.redrive_item i where i.redrive = r.id group by 1) c) as results`

  const redrive = async (id: string): Promise<Redrive | undefined> => {
    if (!isLetterId(id)) return undefined
    const { rows } = await ask(`select ${redriveColumns} from ${quoted}.redrive r where r.id = $1::bigint`, [id])
    return rows.length === 0 ? undefined : redriveFrom(rows[0])
  }

  async function change(statement: string, id: string, by: string): Promise<RedriveState | undefined> {
    checkArgument('redrive', 'by', by, text)
    if (!isLetterId(id)) return undefined
    await run(statement, [id, storable(by)])
    return (await redrive(id))?.state
  }

  return {
    async preview(filter, options = {}, look = {}) {
      const { maxRedrives } = checkedOptions(options)
      const { most = 5000 } = checkOptions('preview', look, { most: count() })
      const condition = conditionOf(filter, 3)
      const { rows } = await ask(sql.preview(condition.sql, orderFor(filter)), [maxRedrives, most, ...condition.values])
      const n = (name: string): number => numberField(rows[0], name)
      const [matched, taken, conflicts] = [n('matched'), n('taken'), n('conflicts')]
      return {
        ...{ matched, taken, conflicts, free: matched - taken - conflicts },
        ...{ looked: n('looked'), guarded: n('guarded'), completed: n('completed'), keys: n('keys') },
      }
    },
    async create(filter, options = {}, by) {
      const { route, perSecond, canary, maxRedrives } = checkedOptions(options)
      checkArgument('redrive', 'by', by, text)
      const condition = conditionOf(filter, 7)
      const { rows } = await run(sql.create(condition.sql), [
        storable(by),
        storableJson(filter),
        route,
        perSecond,
        canary,
        maxRedrives,
        ...condition.values,
      ])
      const id = textField(rows[0], 'id')
      return id === null ? undefined : redrive(id)
    },
    redrive,
    async redrives({ limit = 20, before } = {}) {
      checkArgument('redrives', 'limit', limit, count())
      const { rows } = await ask(
        `select ${redriveColumns} from ${quoted}.redrive r where r.id < $1::bigint order by r.id desc limit $2::int`,
        [before !== undefined && isLetterId(before) ? before : '9223372036854775807', limit],
      )
      return rows.map(redriveFrom)
    },
    async redriveItems(id, { limit = 100, after } = {}) {
      checkArgument('redriveItems', 'limit', limit, count())
      if (!isLetterId(id)) return []
      const { rows } = await ask(
        `select i.letter::text, i.result, i.generation::text, r.id::text as redrive, r.by,
  extract(epoch from r.created_at)::float8 * 1000 as created_ms
from ${quoted}.redrive_item i join ${quoted}.redrive r on r.id = i.redrive
where i.redrive = $1::bigint and i.letter > $2::bigint order by i.letter limit $3::int`,
        [id, after !== undefined && isLetterId(after) ? after : '-1', limit],
      )
      return rows.map((row) => ({
        letter: textField(row, 'letter') ?? '',
        result: resultFrom(textField(row, 'result')),
        generation: textField(row, 'generation') === null ? null : numberField(row, 'generation'),
        redrive: textField(row, 'redrive') ?? '',
        by: textField(row, 'by') ?? '',
        createdMs: numberField(row, 'created_ms'),
      }))
    },
    pause: (id, by) => change(sql.pause, id, by),
    resume: (id, by) => change(sql.resume, id, by),
    cancel: (id, by) => change(sql.cancel, id, by),

    async active() {
      const { rows } = await run(
        `select id::text, route, per_second from ${quoted}.redrive r where state = 'running' order by r.id limit 20`,
        [],
      )
      return rows.map((row): ActiveRedrive => ({
        id: textField(row, 'id') ?? '',
        route: routeFrom(row),
        perSecond: nullableNumber(row, 'per_second'),
      }))
    },
    async claimLanes(id, most, { owner, leaseMs, pipelines }) {
      const { rows } = await run(sql.claimLanes, [id, most, owner, leaseMs, pipelines])
      return rows.map((row) => ({ lane: textField(row, 'lane') ?? '', token: textField(row, 'token') ?? '' }))
    },
    async begin(id, lanes, perLane) {
      const { rows } = await run(sql.begin, [
        id,
        lanes.map(({ lane }) => lane),
        lanes.map(({ token }) => token),
        perLane,
      ])
      if (rows.length === 0) return []
      const letters = await run(
        `select ${letterColumns}, null as claim_state from ${quoted}.dead_letter d where d.id = any($1::bigint[])`,
        [rows.map((row) => textField(row, 'id'))],
      )
      const byId = new Map(letters.rows.map((row) => [textField(row, 'id'), row] as const))
      return rows.flatMap((row) => {
        const letter = byId.get(textField(row, 'id'))
        if (letter === undefined) return []
        const lane = textField(row, 'lane') ?? ''
        return [{ lane, generation: numberField(row, 'given'), letter: letterFrom(letter, bodies) }]
      })
    },
    async reserve(id, letters) {
      const { rows } = await run(sql.reserve, [id, letters])
      return rows.length === 0 ? null : numberField(rows[0], 'ms')
    },
    async renew(id, lanes, leaseMs) {
      const { rowCount } = await run(sql.renew, [
        id,
        lanes.map(({ lane }) => lane),
        lanes.map(({ token }) => token),
        leaseMs,
      ])
      return rowCount ?? 0
    },
    async advance(id, { lane, token }, settled, { stop = false, keepForMs } = {}) {
      const { rows } = await run(sql.advance, [
        id,
        lane,
        token,
        settled.map(({ letter }) => letter),
        settled.map(({ result }) => result),
        stop,
        keepForMs ?? null,
      ])
      if (rows.length === 0) return 'lost'
      return field(rows[0], 'more') === true ? 'more' : 'over'
    },
    async advanceMany(id, lanes, letters, result) {
      const [names, tokens] = [lanes.map(({ lane }) => lane), lanes.map(({ token }) => token)]
      await run(sql.advanceMany, [id, names, tokens, letters, result])
    },
    async reconcile() {
      const { rowCount } = await run(
        `update ${quoted}.dead_letter d set state = 'resolved', settled = d.generation, changed_at = clock_timestamp()
from ${quoted}.idempotency k where d.state = 'redriving' and k.scope = d.claim_scope and k.key = d.claim_key
  and k.state = 'completed' and k.retain_until > clock_timestamp()`,
        [],
      )
      return rowCount ?? 0
    },
    async wait(id, { lane, token }, ms) {
      await run(sql.wait, [id, lane, token, ms])
    },
    async finish(id) {
      const { rows } = await run(sql.finish, [id])
      return rows.length === 0 ? null : redriveState(textField(rows[0], 'state'))
    },
  }
}

function checkedOptions(options: RedriveOptions) {
  const {
    route = 'pipeline',
    perSecond = null,
    canary = null,
    maxRedrives = 3,
  } = checkOptions('redrive', options, {
    route: oneOf('pipeline', 'destination'),
    perSecond: number(0.001),
    canary: count(),
    maxRedrives: count(),
  })
  return { route, perSecond, canary, maxRedrives }
}

const results: readonly RedriveResult[] = ['resolved', 'sent', 'dead', 'guarded', 'skipped', 'cancelled']
const states: readonly RedriveState[] = ['running', 'paused', 'cancelled', 'done']

function resultFrom(text: string | null): RedriveResult | null {
  return results.find((each) => each === text) ?? null
}

function redriveState(text: string | null): RedriveState {
  return states.find((each) => each === text) ?? 'done'
}

function routeFrom(row: unknown): RedriveRoute {
  return textField(row, 'route') === 'destination' ? 'destination' : 'pipeline'
}

function nullableNumber(row: unknown, name: string): number | null {
  const value = field(row, name)
  return value === null || value === undefined ? null : Number(value)
}

function redriveFrom(row: unknown): Redrive {
  const { open = 0, ...counted } = JSON.parse(textField(row, 'results') ?? '{}') as Record<string, number>
  return {
    id: textField(row, 'id') ?? '',
    state: redriveState(textField(row, 'state')),
    route: routeFrom(row),
    by: textField(row, 'by') ?? '',
    filter: JSON.parse(textField(row, 'filter') ?? 'null') as unknown,
    perSecond: nullableNumber(row, 'per_second'),
    canary: nullableNumber(row, 'canary'),
    maxRedrives: numberField(row, 'max_redrives'),
    total: numberField(row, 'total'),
    open,
    results: counted,
    createdMs: numberField(row, 'created_ms'),
    endedMs: nullableNumber(row, 'ended_ms'),
  }
}
