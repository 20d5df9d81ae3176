import { claimName } from '../../../core/stored-key.ts'
import type {
  LaneLease,
  LanePage,
  ParkedName,
  ParkedRow,
  ParkingStore,
  ParkRequest,
} from '../../../ordering/parking/store.ts'
import { apart, batcher, onceEach } from '../../batcher.ts'
import { failureToJson } from '../../failure-json.ts'
import { mayBeOneRow } from '../failures.ts'
import type { RunStatement } from '../queryable.ts'
import { heldBy, numberField, textField } from '../rows.ts'
import { postgresAppends } from './appends.ts'
import { base64, bytesField } from './bytes.ts'
import { parkingStatements } from './statements.ts'

export interface PostgresParkingOptions {
  /** Runs one statement, and again while all that stands in its way is another transaction. */
  readonly run: RunStatement
  readonly quoted: string
  readonly lockTimeout: string
  readonly maxBatch: number
  readonly maxInFlight: number
}

/** The lanes and what is parked in them, beside the claims. */
export function postgresParking(options: PostgresParkingOptions): ParkingStore {
  const { run, lockTimeout, maxBatch, maxInFlight } = options
  const sql = parkingStatements(options.quoted)

  async function sendParks(asked: readonly ParkRequest[]): Promise<readonly ('ok' | 'lost')[]> {
    const rows = await run(sql.parkSql, [
      asked.map((_, n) => n),
      asked.map(({ held }) => held.scope),
      asked.map(({ held }) => held.key),
      asked.map(({ held }) => String(held.token)),
      asked.map(({ pipeline }) => pipeline),
      asked.map(({ lane }) => lane),
      asked.map(({ afterMs }) => afterMs),
      asked.map(({ attempts }) => attempts),
      asked.map(({ generation }) => generation),
      asked.map(({ fingerprint }) => fingerprint),
      asked.map(({ keyText }) => keyText),
      asked.map(({ envelope }) => base64(envelope)),
      asked.map(({ body }) => base64(body)),
      asked.map(({ error }) => error),
      asked.map(({ failure }) => (failure === null ? null : failureToJson(failure))),
      asked.map(({ retainMs }) => retainMs),
      lockTimeout,
    ])
    return heldBy(rows, asked)
  }

  const park = batcher<ParkRequest, 'ok' | 'lost'>({
    send: onceEach(
      apart(sendParks, mayBeOneRow),
      ({ held }) => claimName(held),
      () => undefined,
    ),
    maxBatch,
    maxInFlight,
  })
  const append = postgresAppends({ run, appendSql: sql.appendSql, lockTimeout, maxBatch, maxInFlight })

  return {
    name: 'postgresql',
    park: (request) => park(request),
    append,
    async rejoin({ pipeline, lane, scope, key, generation, fingerprint, keyText, envelope, body, replaces }) {
      const message = [fingerprint, keyText, base64(envelope), base64(body), replaces]
      const rows = await run(sql.rejoinSql, [pipeline, lane, scope, key, generation, ...message, lockTimeout])
      return rows.length === 1 ? 'parked' : 'again'
    },
    async claimLanes({ pipeline, limit, owner, leaseMs }) {
      const rows = await run(sql.claimLanesSql, [pipeline, limit, owner, leaseMs])
      return rows.map((row) => ({ pipeline, lane: textField(row, 'lane') ?? '', token: bigintField(row, 'token') }))
    },
    async renewLanes(leases, leaseMs) {
      if (leases.length === 0) return []
      const rows = await run(sql.renewLanesSql, [
        leases.map(({ pipeline }) => pipeline),
        leases.map(({ lane }) => lane),
        leases.map(({ token }) => String(token)),
        leaseMs,
        lockTimeout,
      ])
      return rows.map((row) => bigintField(row, 'token'))
    },
    load: async (lease, limit) => pageFrom(await run(sql.loadSql, [...named(lease), limit])),
    async remove(rows) {
      if (rows.length > 0) await run(sql.removeSql, namesOf(rows))
    },
    async free(lease, tail) {
      return (await run(sql.freeSql, [...named(lease), String(tail)])).length === 1 ? 'ok' : 'lost'
    },
    async reschedule(lease, afterMs, head) {
      const { scope = null, key = null, attempts = null, error = null } = head ?? {}
      const rows = await run(sql.rescheduleSql, [...named(lease), afterMs, scope, key, attempts, error])
      return rows.length === 1 ? 'ok' : 'lost'
    },
    async countLanes(pipeline, most) {
      return numberField((await run(sql.countLanesSql, [pipeline, most]))[0], 'lanes')
    },
    async status(pipeline) {
      const [row] = await run(sql.statusSql, [pipeline])
      const lanes = numberField(row, 'lanes')
      const oldestMs = numberField(row, 'oldest_ms')
      return {
        lanes,
        rows: numberField(row, 'rows'),
        blocked: numberField(row, 'blocked'),
        oldestAgeMs: lanes === 0 ? null : Math.max(0, oldestMs),
      }
    },
  }
}

function named({ pipeline, lane, token }: LaneLease): unknown[] {
  return [pipeline, lane, String(token)]
}

function namesOf(rows: readonly ParkedName[]): unknown[] {
  return [rows.map(({ scope }) => scope), rows.map(({ key }) => key), rows.map(({ generation }) => generation)]
}

function pageFrom(rows: readonly unknown[]): LanePage | undefined {
  const [first] = rows
  if (first === undefined) return undefined
  const tail = bigintField(first, 'tail')
  // A lane without rows answers one row of its own.
  return { tail, rows: textField(first, 'seq') === null ? [] : rows.map(rowFrom) }
}

function rowFrom(row: unknown): ParkedRow {
  return {
    scope: textField(row, 'scope') ?? '',
    key: textField(row, 'claim_key') ?? '',
    generation: Number(textField(row, 'generation') ?? 0),
    attempts: numberField(row, 'attempts'),
    envelope: bytesField(row, 'envelope') ?? new Uint8Array(),
    body: bytesField(row, 'body'),
    ageMs: numberField(row, 'age_ms'),
    waitedMs: numberField(row, 'waited_ms'),
  }
}

function bigintField(row: unknown, name: string): bigint {
  return BigInt(textField(row, name) ?? 0)
}
