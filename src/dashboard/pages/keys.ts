import { storedKey } from '../../core/stored-key.ts'
import type { ClaimRecord, KeysBound, ParkedLane } from '../../operations/store.ts'
import { exact, html, type Fragment, type Html } from '../html.ts'
import type { Answer, Fields, Route, View, Visit } from '../visit.ts'
import {
  asking,
  badge,
  button,
  card,
  choices,
  counted,
  errorText,
  field,
  inside,
  name,
  packed,
  table,
  unpacked,
} from '../widgets.ts'
import { laneParams, laneState } from './lane.ts'

/** Keys that stand still: stuck, parked, or failed for good. */
export const keyRoutes: readonly Route[] = [
  { method: 'GET', path: /^keys$/, run: show },
  { method: 'POST', path: /^keys\/(unblock|forget)$/, run: act },
]

const most = 100
const staleChoices: readonly (readonly [value: string, label: string])[] = [
  ['60000', 'for a minute or longer'],
  ['3600000', 'for an hour or longer'],
  ['86400000', 'for a day or longer'],
  ['0', 'all that are in progress'],
]

async function show(visit: Visit): Promise<View> {
  const { ops, url } = visit
  const { store } = ops
  const scope = url.searchParams.get('scope') ?? ''
  const key = url.searchParams.get('key') ?? ''
  const asked = url.searchParams.get('stale') ?? ''
  const stale = staleChoices.some(([value]) => value === asked) ? asked : '60000'
  const within = scope === '' ? {} : { scope }
  const [stuck, parked, found, bound] = await Promise.all([
    store.keys({ staleMs: Number(stale), limit: most + 1, ...within }),
    store.parked?.({ limit: most + 1, ...within, ...(key !== '' && { key }) }),
    key === '' ? undefined : store.claims(storedKey(key), ...(scope === '' ? [] : [scope])),
    store.keysBound?.(),
  ])
  const main = html`<h1>Keys</h1>
    <p class="lead">
      A key is claimed while its message is handled, and remembered afterwards, so that a duplicate does not run.
    </p>
    ${formCard(visit, { scope, key, stale })} ${found !== undefined && foundCard(visit, found)}
    ${stuckCard(visit, stuck, stale, bound)} ${parked !== undefined && parkedCard(visit, parked)}`
  return { title: 'Keys', tab: 'keys', live: true, main }
}

function formCard({ links }: Visit, { scope, key, stale }: Record<'scope' | 'key' | 'stale', string>): Html {
  const input = (id: string, value: string): Html =>
    html`<input type="text" id="${id}" name="${id}" value="${exact(value)}" autocomplete="off" spellcheck="false" />`
  return card(
    'Look up',
    inside(
      html`<form method="get" action="${links.to('keys')}" role="search" aria-label="Keys">
        <div class="fields">
          ${field('Key', 'key', input('key', key))}${field('Scope (the pipeline)', 'scope', input('scope', scope))}${field('Lease ended', 'stale', choices('stale', staleChoices, stale))}
          <div class="row"><button class="primary">Show</button> <a href="${links.to('keys')}">Clear</a></div>
        </div>
      </form>`,
    ),
  )
}

function foundCard(visit: Visit, found: readonly ClaimRecord[]): Html {
  const { times, mayAct } = visit
  const rows = table<ClaimRecord>(
    'What is remembered of the key',
    [
      { name: 'Scope', kind: 'head', cell: ({ scope }) => name(scope) },
      { name: 'State', kind: 'tight', cell: ({ state }) => badge(state) },
      { name: 'Attempts', kind: 'number', cell: ({ attempts }) => counted(attempts) },
      {
        name: 'Lease until',
        kind: 'tight',
        cell: ({ state, leaseMs }) => (state === 'in-progress' ? times.when(leaseMs) : '–'),
      },
      { name: 'Remembered until', kind: 'tight', cell: ({ retainedMs }) => times.when(retainedMs) },
      {
        name: 'Error',
        kind: 'wide',
        cell: ({ failure }) => failure !== null && errorText(failure.errorName, failure.errorMessage, 240),
      },
      ...(mayAct ? [{ name: 'Act', kind: 'tight' as const, cell: (claim: ClaimRecord) => forget(visit, claim) }] : []),
    ],
    found,
    html`<strong>This key is not known</strong>
      <p>It never came, or was cleaned up, or another store keeps it.</p>`,
  )
  return card('What is remembered of the key', rows)
}

function stuckCard(visit: Visit, keys: readonly ClaimRecord[], stale: string, bound: KeysBound | undefined): Html {
  const { times, mayAct, links } = visit
  const act = (claim: ClaimRecord): Fragment =>
    button(visit, {
      to: 'keys/unblock',
      values: { claim: packedClaim(claim) },
      label: 'Unblock',
      about: `Unblock key ${claim.key}`,
    })
  const held = ({ leaseMs }: ClaimRecord): boolean => leaseMs !== null && leaseMs > times.nowMs
  const rows = table<ClaimRecord>(
    'Keys in progress',
    [
      {
        name: 'Key',
        kind: 'head',
        cell: ({ key, scope }) => html`<a href="${links.to('keys', { key, scope })}">${name(key)}</a>`,
      },
      { name: 'Scope', kind: 'name', cell: ({ scope }) => name(scope) },
      { name: 'Attempts', kind: 'number', cell: ({ attempts }) => counted(attempts) },
      { name: 'Last holder', kind: 'name', cell: ({ owner }) => name(owner, 80) },
      { name: 'Lease until', kind: 'tight', cell: ({ leaseMs }) => times.when(leaseMs) },
      ...(mayAct
        ? [
            {
              name: 'Act',
              kind: 'tight' as const,
              cell: (claim: ClaimRecord) => (held(claim) ? force(visit, claim) : act(claim)),
            },
          ]
        : []),
    ],
    keys.slice(0, most),
    html`<strong>No stuck keys</strong>
      <p>Each key in progress is held by a process that is alive.</p>`,
  )
  return card(stale === '0' ? 'Keys in progress' : 'Stuck keys', rows, {
    aside: stale === '0' ? undefined : 'lease ended, and nobody claimed them again',
    footer: html`${
      keys.length > most
        ? `Only ${most} are shown: give a scope.`
        : 'The next delivery claims such a key by itself. If none comes, the broker lost the message, or its consumer is down.'
    }${bound !== undefined && html` <span>Looked at are the newest ${counted(bound.newest)} of about ${counted(bound.of)} keys: holdfast keys ls --look-at looks further.</span>`}`,
  })
}

function parkedCard({ times, links }: Visit, lanes: readonly ParkedLane[]): Html {
  const rows = table<ParkedLane>(
    'Parked keys',
    [
      {
        name: 'Key',
        kind: 'head',
        cell: (lane) => html`<a href="${links.to('keys/lane', laneParams(lane))}">${name(lane.key)}</a>`,
      },
      { name: 'State', kind: 'tight', cell: laneState },
      { name: 'Pipeline', kind: 'name', cell: ({ scope }) => name(scope) },
      { name: 'Messages', kind: 'number', cell: ({ messages }) => counted(messages) },
      { name: 'Attempts', kind: 'number', cell: ({ attempts }) => counted(attempts) },
      { name: 'Since', kind: 'tight', cell: ({ sinceMs }) => times.when(sinceMs) },
      {
        name: 'Tried again',
        kind: 'tight',
        cell: ({ nextMs }) => (nextMs === null ? 'waits for you' : times.when(nextMs)),
      },
      { name: 'Error', kind: 'wide', cell: ({ error }) => error !== null && errorText('', error, 240) },
    ],
    lanes.slice(0, most),
    html`<strong>No parked keys</strong>
      <p>No message waits behind one that failed.</p>`,
  )
  return card('Parked keys', rows, {
    aside: 'their messages wait behind one that failed',
    ...(lanes.length > most && { footer: `Only ${most} are shown: give a scope.` }),
  })
}

const packedClaim = ({ scope, key }: ClaimRecord): string => packed([scope, key])

function force(visit: Visit, claim: ClaimRecord): Html {
  return asking(visit, {
    to: 'keys/unblock',
    values: { claim: packedClaim(claim), force: '1' },
    label: 'Unblock',
    about: `Unblock key ${claim.key}`,
    tone: 'danger',
    why: 'This key is held, and its lease has not ended. If its holder still works, it cannot complete the key any more, and its message runs twice.',
  })
}

function forget(visit: Visit, claim: ClaimRecord): Html {
  return asking(visit, {
    to: 'keys/forget',
    values: { claim: packedClaim(claim) },
    label: 'Forget',
    about: `Forget the key in ${claim.scope}`,
    tone: 'danger',
    why: 'A message of this key may run again, as if it had never come: also one that was completed.',
  })
}

async function act({ ops, user, links }: Visit, [verb = '']: readonly string[], fields: Fields): Promise<Answer> {
  const claim = unpacked(fields.text('claim'))
  const [scope, key] = Array.isArray(claim) ? (claim as readonly unknown[]) : []
  if (typeof scope !== 'string' || typeof key !== 'string') return { goTo: links.to('keys', { done: 'nothing' }) }
  if (verb === 'forget') {
    const forgotten = await ops.store.forget(scope, key, user.name)
    return { goTo: links.to('keys', { done: forgotten ? 'key-forgotten' : 'key-not-forgotten' }) }
  }
  const answer = await ops.store.unblock(scope, key, user.name, { force: fields.text('force') === '1' })
  return { goTo: links.to('keys', { done: `key-${answer}` }) }
}
