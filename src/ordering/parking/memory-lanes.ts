import type { Clock } from '../../core/clock.ts'
import type { Failure } from '../../core/errors.ts'
import type { ClaimLane } from '../../core/parking.ts'
import type {
  Appended,
  AppendRequest,
  LaneLease,
  LaneName,
  LanePage,
  LanesRequest,
  ParkedName,
  ParkingStatus,
  ParkingStore,
  ParkRequest,
  RejoinRequest,
  WaitingHead,
} from './store.ts'

/** What the lanes need of the claims beside them. */
export interface LaneClaims {
  known(request: {
    readonly scope: string
    readonly key: string
    readonly fingerprint: string | null
    readonly generation: number
  }): { readonly state: string } | undefined
  /** Whether that claim is in progress and nobody took over. */
  holds(held: ParkRequest['held']): boolean
  fenceOut(scope: string, key: string): void
  release(held: ParkRequest['held'], attempts: number): Promise<'ok' | 'lost'>
  fail(held: ParkRequest['held'], failure: Failure, retainMs: number): Promise<'ok' | 'lost'>
}

/** A lane as one looks at it: the keys of its claims, the head first. */
export interface SeenLane {
  readonly lane: string
  readonly blocked: boolean
  readonly keys: readonly string[]
}

interface Row extends ParkRequestOrAppend {
  readonly scope: string
  key: string
  readonly parkedAtMs: number
  generation: number
  attempts: number
  triedAtMs: number | undefined
}
type ParkRequestOrAppend = Pick<AppendRequest, 'envelope' | 'body' | 'keyText' | 'fingerprint'>

class Lane {
  readonly name: LaneName
  readonly rows: Row[] = []
  tail = 0n
  /** When it is due, or when its lease ends. Infinity: blocked. */
  nextAtMs: number
  token: bigint | null = null

  constructor(name: LaneName, nextAtMs: number) {
    this.name = name
    this.nextAtMs = nextAtMs
  }
}

/** The lanes of one process, beside claims that are in this process too. Nothing here waits, so every call is one step. */
export class MemoryLanes implements ParkingStore {
  readonly name = 'memory'
  readonly #claims: LaneClaims
  readonly #clock: Clock
  readonly #lanes = new Map<string, Lane>()
  readonly #rows = new Map<string, { readonly lane: Lane; readonly row: Row }>()
  #lastToken = 0n
  #lastGeneration = 0

  constructor(claims: LaneClaims, clock: Clock) {
    this.#claims = claims
    this.#clock = clock
  }

  /** Whether that claim has to wait behind what is parked. */
  refuses({ pipeline, name, token }: ClaimLane): boolean {
    const lane = this.#lanes.get(nameOf(pipeline, name))
    return token === null ? lane !== undefined : lane?.token !== token
  }

  async park(request: ParkRequest): Promise<'ok' | 'lost'> {
    const { held, failure, afterMs, attempts, retainMs } = request
    if (!this.#claims.holds(held)) return 'lost'
    // The claims are settled when they are called, and answer later: nothing comes between.
    const given = failure === null ? this.#claims.release(held, attempts) : this.#claims.fail(held, failure, retainMs)
    const lane = this.#lane(request, afterMs === null ? Infinity : this.#clock.now() + afterMs)
    if (!this.#rows.has(nameOf(held.scope, held.key))) this.#add(lane, { ...request, ...held })
    return given
  }

  append(run: readonly AppendRequest[]): Promise<readonly Appended[]> {
    let open = true
    const answers = run.map((request) => {
      const answer = this.#append(request, open)
      open &&= answer !== 'again'
      return answer
    })
    return Promise.resolve(answers)
  }

  #append(request: AppendRequest, open: boolean): Appended {
    const lane = this.#lanes.get(nameOf(request.pipeline, request.lane))
    if (lane === undefined) return 'again'
    const known = this.#claims.known(request)
    const there = this.#rows.get(nameOf(request.scope, request.key))
    if (there !== undefined) {
      const { fingerprint } = there.row
      const same = fingerprint === null || request.fingerprint === null || fingerprint === request.fingerprint
      return same && known?.state !== 'failed' ? 'known' : 'again'
    }
    if (known !== undefined || !open) return 'again'
    if (lane.rows.length >= request.cap) return 'full'
    this.#claims.fenceOut(request.scope, request.key)
    this.#add(lane, { ...request, attempts: 0 })
    return 'appended'
  }

  rejoin(request: RejoinRequest): Promise<'parked' | 'again'> {
    const { scope, key, generation, replaces } = request
    const known = this.#claims.known(request)
    if (known !== undefined && known.state !== 'in-progress') return Promise.resolve('again')
    const lane = this.#lane(request, this.#clock.now())
    const [head] = lane.rows
    const blocked = lane.nextAtMs === Infinity && lane.token === null
    const there = this.#rows.get(nameOf(scope, key))
    const replaced = blocked && head?.scope === scope && head.key === replaces ? head : undefined
    if (blocked && (replaced !== undefined || (there !== undefined && there.row === head)))
      lane.nextAtMs = this.#clock.now()
    lane.tail++
    if (there !== undefined) {
      if (there.row.generation < generation) Object.assign(there.row, contentOf(request))
    } else if (replaced === undefined) {
      lane.tail--
      this.#add(lane, { ...request, attempts: 0 })
    } else {
      this.#rows.delete(nameOf(replaced.scope, replaced.key))
      Object.assign(replaced, contentOf(request), { key, attempts: 0, triedAtMs: undefined })
      this.#rows.set(nameOf(scope, key), { lane, row: replaced })
    }
    return Promise.resolve('parked')
  }

  claimLanes({ pipeline, limit, leaseMs }: LanesRequest): Promise<readonly LaneLease[]> {
    const nowMs = this.#clock.now()
    const due = [...this.#lanes.values()]
      .filter(({ name, nextAtMs }) => name.pipeline === pipeline && nextAtMs <= nowMs)
      .toSorted((a, b) => a.nextAtMs - b.nextAtMs)
      .slice(0, limit)
    return Promise.resolve(
      due.map((lane) => {
        lane.token = ++this.#lastToken
        lane.nextAtMs = nowMs + leaseMs
        return { ...lane.name, token: lane.token }
      }),
    )
  }

  renewLanes(leases: readonly LaneLease[], leaseMs: number): Promise<readonly bigint[]> {
    const held = leases.filter((lease) => {
      const lane = this.#held(lease)
      if (lane !== undefined) lane.nextAtMs = this.#clock.now() + leaseMs
      return lane !== undefined
    })
    return Promise.resolve(held.map(({ token }) => token))
  }

  load(lease: LaneLease, limit: number): Promise<LanePage | undefined> {
    const lane = this.#held(lease)
    if (lane === undefined) return Promise.resolve(undefined)
    const nowMs = this.#clock.now()
    const rows = lane.rows.slice(0, limit).map((row) => {
      const { scope, key, generation, attempts, envelope, body, parkedAtMs, triedAtMs = nowMs } = row
      return {
        scope,
        key,
        generation,
        attempts,
        envelope,
        body,
        ageMs: nowMs - parkedAtMs,
        waitedMs: nowMs - triedAtMs,
      }
    })
    return Promise.resolve({ tail: lane.tail, rows })
  }

  remove(rows: readonly ParkedName[]): Promise<void> {
    for (const each of rows) {
      const there = this.#rows.get(nameOf(each.scope, each.key))
      if (there !== undefined && there.row.generation <= each.generation) this.#forget(each)
    }
    return Promise.resolve()
  }

  free(lease: LaneLease, tail: bigint): Promise<'ok' | 'lost'> {
    const lane = this.#held(lease)
    if (lane?.tail !== tail) return Promise.resolve('lost')
    return Promise.resolve(this.#lanes.delete(nameOf(lease.pipeline, lease.lane)) ? 'ok' : 'lost')
  }

  reschedule(lease: LaneLease, afterMs: number | null, head?: WaitingHead): Promise<'ok' | 'lost'> {
    const lane = this.#held(lease)
    if (lane === undefined) return Promise.resolve('lost')
    const nowMs = this.#clock.now()
    lane.token = null
    lane.nextAtMs = afterMs === null ? Infinity : nowMs + afterMs
    const there = head === undefined ? undefined : this.#rows.get(nameOf(head.scope, head.key))
    if (head !== undefined && there !== undefined) {
      there.row.attempts = head.attempts
      there.row.triedAtMs ??= nowMs
    }
    return Promise.resolve('ok')
  }

  countLanes(pipeline: string, most: number): Promise<number> {
    return Promise.resolve(Math.min(this.#of(pipeline).length, most))
  }

  status(pipeline: string): Promise<ParkingStatus> {
    const lanes = this.#of(pipeline)
    const heads = lanes.flatMap(({ rows }) => rows[0]?.parkedAtMs ?? [])
    return Promise.resolve({
      lanes: lanes.length,
      rows: lanes.reduce((sum, { rows }) => sum + rows.length, 0),
      blocked: lanes.filter(({ nextAtMs }) => nextAtMs === Infinity).length,
      oldestAgeMs: heads.length === 0 ? null : this.#clock.now() - Math.min(...heads),
    })
  }

  /** Whether a message is parked under that claim. */
  has(scope: string, key: string): boolean {
    return this.#rows.has(nameOf(scope, key))
  }

  /** What is parked, lane by lane, for a simulation to look at. */
  look(pipeline: string): readonly SeenLane[] {
    return this.#of(pipeline).map(({ name, rows, nextAtMs }) => {
      return { lane: name.lane, blocked: nextAtMs === Infinity, keys: rows.map(({ key }) => key) }
    })
  }

  /** What an operator does to a blocked lane: its head runs again, or goes. */
  unblock(pipeline: string, name: string, act: 'run' | 'drop'): boolean {
    const lane = this.#lanes.get(nameOf(pipeline, name))
    const [head] = lane?.rows ?? []
    if (lane === undefined || head === undefined || lane.nextAtMs !== Infinity || lane.token !== null) return false
    lane.nextAtMs = this.#clock.now()
    if (act === 'drop') this.#forget(head)
    else head.generation = this.#lastGeneration = Math.max(this.#lastGeneration, head.generation) + 1
    return true
  }

  #of(pipeline: string): Lane[] {
    return [...this.#lanes.values()].filter(({ name }) => name.pipeline === pipeline)
  }

  #held({ pipeline, lane, token }: LaneLease): Lane | undefined {
    const found = this.#lanes.get(nameOf(pipeline, lane))
    return found?.token === token ? found : undefined
  }

  #lane({ pipeline, lane }: LaneName, nextAtMs: number): Lane {
    const name = nameOf(pipeline, lane)
    const known = this.#lanes.get(name)
    if (known !== undefined) return known
    const made = new Lane({ pipeline, lane }, nextAtMs)
    this.#lanes.set(name, made)
    return made
  }

  #add(lane: Lane, request: Omit<Row, 'parkedAtMs' | 'triedAtMs'>): void {
    const { scope, key, generation, attempts, fingerprint, envelope, body, keyText } = request
    const parkedAtMs = this.#clock.now()
    const row: Row = {
      scope,
      key,
      generation,
      attempts,
      fingerprint,
      envelope,
      body,
      keyText,
      parkedAtMs,
      triedAtMs: undefined,
    }
    lane.tail++
    lane.rows.push(row)
    this.#rows.set(nameOf(scope, key), { lane, row })
  }

  #forget({ scope, key }: Pick<ParkedName, 'scope' | 'key'>): void {
    const there = this.#rows.get(nameOf(scope, key))
    if (there === undefined) return
    this.#rows.delete(nameOf(scope, key))
    there.lane.rows.splice(there.lane.rows.indexOf(there.row), 1)
  }
}

function contentOf({ generation, fingerprint, envelope, body, keyText }: RejoinRequest) {
  return { generation, fingerprint, envelope, body, keyText }
}

function nameOf(first: string, second: string): string {
  return `${first.length}:${first}${second}`
}
