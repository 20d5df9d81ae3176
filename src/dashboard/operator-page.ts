import { systemClock, type Clock } from '../core/clock.ts'
import { HoldfastError } from '../core/errors.ts'
import {
  badOption,
  callback,
  checkOptions,
  clockKind,
  flag,
  having,
  list,
  ms,
  objects,
  required,
  text,
} from '../core/options.ts'
import { operations } from '../operations/operations.ts'
import type { Mask } from '../operations/mask.ts'
import type { CircuitRecord, OperatorStore } from '../operations/store.ts'
import type { Auth } from './access.ts'
import { pageServer, type PageFailure } from './server.ts'
import { formatOf } from './times.ts'

export interface OperatorPageOptions {
  readonly store: OperatorStore
  /**
   * Says who sends a request: a name for the operator log and a role. `viewer` reads; `operator` may act too. `null` is
   * answered with 401. A `Response`, such as a redirect to your login, is sent as it is. Needed unless `loopback` is given.
   */
  readonly auth?: Auth
  /** For one person at this machine, in the place of `auth`. Only `localhost` is answered, and only with the token. */
  readonly loopback?: LoopbackOptions
  /** Where the page is mounted. @defaultValue `'/'` */
  readonly basePath?: string
  /** `false` lets operators act. @defaultValue true */
  readonly readOnly?: boolean
  /** The origins under which browsers reach the page, such as `https://ops.example.com`. Other hosts are refused then. @defaultValue any */
  readonly origins?: readonly string[]
  /** Shows a body without what must not be seen. @defaultValue the names and the shape of JSON, without values */
  readonly mask?: Mask
  /** Asks for the state of the circuits. @defaultValue the shared circuits of the store, where it has any */
  readonly circuits?: () => readonly CircuitRecord[] | Promise<readonly CircuitRecord[]>
  /** The address of a trace, with `{trace}` for its id. @defaultValue trace ids are no links */
  readonly traceUrl?: string
  /** The time zone of all times. @defaultValue `'UTC'` */
  readonly timeZone?: string
  /** How long counts of the overview are shown again before they are taken anew. @defaultValue 5000 */
  readonly cacheMs?: number
  /** How long an answer may take, in ms. @defaultValue 20_000 */
  readonly answerMs?: number
  /** Is told of each failure, with the reference that the page shows. @defaultValue a process warning */
  readonly onError?: (failure: PageFailure) => void
  readonly clock?: Clock
}

export interface LoopbackOptions {
  /** A secret of at least 32 characters. Anyone who opens `<address>?token=<token>` is let in. */
  readonly token: string
  /** For the operator log. */
  readonly name: string
}

const where = 'operatorPage'

/**
 * The operator's page, for any server that speaks `Request` and `Response`; `nodeListener` mounts it in those of Node. It
 * is read-only unless told otherwise, and every act is written to the operator log before its answer.
 * @throws HoldfastError `bad-option`, also where there is neither `auth` nor `loopback`.
 */
export function operatorPage(options: OperatorPageOptions): (request: Request) => Promise<Response> {
  const {
    store,
    auth,
    loopback,
    basePath = '/',
    readOnly = true,
    origins,
    mask,
    circuits,
    traceUrl,
    timeZone = 'UTC',
    cacheMs = 5000,
    answerMs = 20_000,
    onError = warn,
    clock = systemClock,
  } = checkOptions(where, options, {
    store: required(having('schema', 'outbox', 'keys', 'traces')),
    auth: callback,
    loopback: objects,
    basePath: text,
    readOnly: flag,
    origins: list,
    mask: callback,
    circuits: callback,
    traceUrl: text,
    timeZone: text,
    cacheMs: ms(0),
    answerMs: ms(),
    onError: callback,
    clock: clockKind,
  })
  if ((auth === undefined) === (loopback === undefined))
    throw new HoldfastError(
      'bad-option',
      `${where}: give auth, or loopback for one person at this machine; without either, everybody who reaches the page could use it`,
    )
  if (loopback !== undefined) checkLoopback(loopback)
  const known = origins?.map(checkedOrigin)
  if (known?.length === 0) throw badOption(where, 'origins', 'a list that is not empty', origins)
  return pageServer({
    ops: operations({ store, cacheMs, clock, ...(mask !== undefined && { mask }) }),
    auth,
    loopback,
    base: checkedBase(basePath),
    readOnly,
    origins: known,
    circuits: circuits === undefined ? sharedCircuits(store, clock) : async () => circuits(),
    traceUrl: traceUrl === undefined ? undefined : checkedTraceUrl(traceUrl),
    timeZone: checkedZone(timeZone),
    answerMs,
    onError,
    clock,
  })
}

/** What the store knows of circuits that processes share. */
function sharedCircuits(store: OperatorStore, clock: Clock): (() => Promise<readonly CircuitRecord[]>) | undefined {
  if (store.circuits === undefined) return undefined
  return async () =>
    ((await store.circuits?.()) ?? []).map(({ name, state, epoch, leftMs, prober, processes, openVotes }) => ({
      name,
      state,
      // An epoch is the store's time in µs, unless the store lost its data.
      sinceMs: epoch > 0 && epoch / 1000 <= clock.wall() + 60_000 ? epoch / 1000 : null,
      detail: [
        ...(state === 'open' ? [`next probe in ${Math.ceil(leftMs / 1000)} s`] : []),
        ...(state === 'half-open' && prober !== null ? [`${prober} probes`] : []),
        `${processes} processes call it${openVotes > 0 ? `, ${openVotes} of them say that it is down` : ''}`,
      ].join('; '),
    }))
}

function checkLoopback(loopback: LoopbackOptions): void {
  const { token, name } = checkOptions(`${where}.loopback`, loopback, { token: required(text), name: required(text) })
  if (!/^[\w-]{32,200}$/.test(token))
    throw badOption(where, 'loopback.token', 'at least 32 letters, digits, - and _', `${token.length} characters`)
  if (name.length > 200) throw badOption(where, 'loopback.name', 'at most 200 characters', name)
}

function checkedBase(basePath: string): string {
  if (!/^(?:\/[\w~.-]+)*\/?$/.test(basePath) || /\/\.{1,2}(?:\/|$)/.test(basePath))
    throw badOption(where, 'basePath', 'a path such as /ops/holdfast', basePath)
  return basePath.endsWith('/') ? basePath : `${basePath}/`
}

function checkedOrigin(origin: unknown): string {
  const url = typeof origin === 'string' && URL.canParse(origin) ? new URL(origin) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.origin !== String(origin).toLowerCase())
    throw badOption(where, 'origins', 'origins such as https://ops.example.com', origin)
  return url.origin
}

function checkedTraceUrl(traceUrl: string): string {
  if (!/^https?:\/\//i.test(traceUrl) || !traceUrl.includes('{trace}') || !URL.canParse(traceUrl))
    throw badOption(where, 'traceUrl', 'an http address with {trace} in it', traceUrl)
  return traceUrl
}

function checkedZone(timeZone: string): string {
  try {
    formatOf(timeZone)
    return timeZone
  } catch {
    throw badOption(where, 'timeZone', 'a time zone such as UTC or Europe/Berlin', timeZone)
  }
}

function warn({ reference, error }: PageFailure): void {
  const told = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  process.emitWarning(`operatorPage, reference ${reference}: ${told}`, { type: 'HoldfastWarning' })
}
