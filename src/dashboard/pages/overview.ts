import type { LetterGroup, Redrive } from '../../dead-letter/store.ts'
import type { Overview } from '../../operations/operations.ts'
import type { CircuitRecord } from '../../operations/store.ts'
import { html, type Html } from '../html.ts'
import { duration } from '../times.ts'
import type { Route, View, Visit } from '../visit.ts'
import { badge, card, counted, errorText, name, plural, table, tiles, type Column, type Tile } from '../widgets.ts'
import { laneParams } from './lane.ts'
import { progressOf } from './redrives.ts'

/** What is to be seen at a glance: is anything wrong, and where. */
export const overviewRoutes: readonly Route[] = [{ method: 'GET', path: /^$/, run: show }]

/** `failed`: circuits may be kept elsewhere, and what fails there does not hide the rest. */
type Circuits = readonly CircuitRecord[] | 'failed' | undefined

const mostKeys = 20

async function show(visit: Visit): Promise<View> {
  const { ops } = visit
  const asked: Promise<Circuits> = visit.circuits?.().catch(() => 'failed' as const) ?? Promise.resolve(undefined)
  const [seen, circuits] = await Promise.all([ops.overview(), asked])
  const main = html`<h1>Overview</h1>

    ${tiles([...letterTiles(seen), ...outboxTiles(seen), ...circuitTiles(circuits)])} ${groupsCard(visit, seen)}
    <div class="two">${redrivesCard(visit, seen.redrives)}${keysCard(visit, seen)}</div>
    ${circuits !== undefined && circuitsCard(visit, circuits)}`
  return { title: 'Overview', tab: 'overview', main, live: true, takenMs: seen.takenMs }
}

function letterTiles(seen: Overview): readonly Tile[] {
  const { letters, groups, moreGroups, redrives, staleKeys, blockedKeys, keysBound } = seen
  const running = redrives.filter(({ state }) => state === 'running').length
  const paused = redrives.filter(({ state }) => state === 'paused').length
  return [
    { label: 'Dead letters', value: letters, note: 'dead or being redriven', tone: letters > 0 ? 'bad' : undefined },
    {
      label: 'Groups of errors',
      value: `${groups.length}${moreGroups ? '+' : ''}`,
      note: 'same pipeline, same shape of error',
    },
    {
      label: 'Redrives under way',
      value: running + paused,
      note: paused > 0 ? `${counted(paused)} paused` : 'among the newest ten',
      tone: paused > 0 ? 'warn' : undefined,
    },
    {
      label: 'Stuck keys',
      value: `${staleKeys.length}${staleKeys.length >= mostKeys ? '+' : ''}`,
      note:
        keysBound === undefined
          ? 'lease ended, not claimed again'
          : `lease ended, not claimed again, of the newest ${counted(keysBound.newest)}`,
      tone: staleKeys.length > 0 ? 'warn' : undefined,
    },
    {
      label: 'Blocked keys',
      value: `${blockedKeys.length}${blockedKeys.length >= mostKeys ? '+' : ''}`,
      note: 'parked, and wait for you',
      tone: blockedKeys.length > 0 ? 'bad' : undefined,
    },
  ]
}

function outboxTiles({ outbox }: Overview): readonly Tile[] {
  if (outbox === undefined) return []
  const { pending, pendingLimit, oldestAgeMs, dead, shards } = outbox
  const unheld = shards.filter(({ held }) => !held).length
  return [
    {
      label: 'Waiting in the outbox',
      value: `${counted(pending)}${pending >= pendingLimit ? '+' : ''}`,
      note: oldestAgeMs === null ? 'nothing waits' : `the oldest for ${duration(oldestAgeMs)}`,
    },
    {
      label: 'Refused by the broker',
      value: dead,
      note: 'set aside in the outbox',
      tone: dead > 0 ? 'bad' : undefined,
    },
    {
      label: 'Shards without a relay',
      value: unheld,
      note: `of ${plural(shards.length, 'shard')}`,
      // What nobody publishes is harmless while nothing waits.
      tone: unheld > 0 && pending > 0 ? 'warn' : undefined,
    },
  ]
}

function circuitTiles(circuits: Circuits): readonly Tile[] {
  if (circuits === undefined) return []
  const label = 'Circuits not closed'
  if (circuits === 'failed') return [{ label, value: '?', note: 'could not be asked', tone: 'warn' }]
  const open = circuits.filter(({ state }) => state !== 'closed').length
  return [{ label, value: open, note: `of ${plural(circuits.length, 'circuit')}`, tone: open > 0 ? 'bad' : undefined }]
}

function groupsCard({ links, times, mayAct }: Visit, { groups, moreGroups, letters }: Overview): Html {
  const shown = groups.reduce((sum, group) => sum + group.letters, 0)
  const at = ({ group, pipeline }: LetterGroup): string => links.to('letters', { group, pipeline })
  const act: Column<LetterGroup> = {
    name: 'Act',
    kind: 'tight',
    cell: ({ group, pipeline, errorName }) =>
      html`<a
        class="button"
        href="${links.to('redrives/new', { group, pipeline })}"
        aria-label="Redrive the group ${errorName} of ${pipeline}"
        >Redrive…</a
      >`,
  }
  const rows = table<LetterGroup>(
    'Dead letters by group',
    [
      { name: 'Letters', kind: 'number', cell: (group) => counted(group.letters) },
      {
        name: 'Error',
        kind: 'head',
        cell: (group) => html`<a href="${at(group)}">${errorText(group.errorName, group.shape)}</a>`,
      },
      { name: 'Pipeline', kind: 'name', cell: ({ pipeline }) => name(pipeline) },
      { name: 'First', kind: 'tight', cell: ({ firstMs }) => times.when(firstMs) },
      { name: 'Last', kind: 'tight', cell: ({ lastMs }) => times.when(lastMs) },
      ...(mayAct ? [act] : []),
    ],
    groups,
    html`<strong>No dead letters</strong>
      <p>Every message was handled, or waits to be tried again.</p>`,
  )
  return card('Dead letters by group', rows, {
    aside:
      groups.length > 0 && `${plural(shown, 'letter')} of ${counted(letters)} in ${plural(groups.length, 'group')}`,
    footer: html`<a href="${links.to('letters')}">All dead letters</a
      >${moreGroups && html`<span>There are more groups than are shown here.</span>`}`,
  })
}

function redrivesCard({ links }: Visit, redrives: readonly Redrive[]): Html {
  const rows = table<Redrive>(
    'Newest redrives',
    [
      {
        name: 'Redrive',
        kind: 'head',
        cell: ({ id, by }) =>
          html`<a href="${links.to(`redrives/${id}`)}">Redrive ${id}</a><br /><span class="dim"
              >by ${name(by, 40)}</span
            >`,
      },
      { name: 'State', kind: 'tight', cell: ({ state }) => badge(state) },
      { name: 'Progress', cell: progressOf },
    ],
    redrives.slice(0, 5),
    html`<strong>No redrives yet</strong>
      <p>A redrive gives dead letters to their pipeline again.</p>`,
  )
  return card('Newest redrives', rows, {
    ...(redrives.length > 0 && { footer: html`<a href="${links.to('redrives')}">All redrives</a>` }),
  })
}

/** A key that waits for a person comes before one that a delivery may free. */
function keysCard({ links, times }: Visit, { staleKeys, blockedKeys }: Overview): Html {
  const rows = table<Standing>(
    'Keys that stand still',
    [
      { name: 'Key', kind: 'head', cell: ({ key, to }) => html`<a href="${to}">${name(key, 80)}</a>` },
      { name: 'State', kind: 'tight', cell: ({ state }) => badge(state) },
      { name: 'Pipeline', kind: 'name', cell: ({ scope }) => name(scope, 60) },
      { name: 'Since', kind: 'tight', cell: ({ sinceMs }) => times.when(sinceMs) },
    ],
    [
      ...blockedKeys.slice(0, 5).map(({ key, scope, sinceMs, ...rest }): Standing => {
        return { key, scope, sinceMs, state: 'blocked', to: links.to('keys/lane', laneParams({ scope, ...rest })) }
      }),
      ...staleKeys.slice(0, 5).map(({ key, scope, leaseMs }): Standing => {
        return { key, scope, sinceMs: leaseMs, state: 'stuck', to: links.to('keys', { key }) }
      }),
    ],
    html`<strong>No stuck keys</strong>
      <p>Each key in progress is held by a process that is alive, and no parked key waits for you.</p>`,
  )
  return card('Keys that stand still', rows, {
    ...(staleKeys.length + blockedKeys.length > 0 && {
      footer: html`<a href="${links.to('keys')}">All keys that stand still</a>`,
    }),
  })
}

interface Standing {
  readonly key: string
  readonly scope: string
  readonly state: string
  readonly sinceMs: number | null
  readonly to: string
}

function circuitsCard({ times }: Visit, circuits: readonly CircuitRecord[] | 'failed'): Html {
  const rows = table<CircuitRecord>(
    'Circuits',
    [
      { name: 'Circuit', kind: 'head', cell: (circuit) => name(circuit.name) },
      { name: 'State', kind: 'tight', cell: ({ state }) => badge(state) },
      { name: 'Since', kind: 'tight', cell: ({ sinceMs }) => times.when(sinceMs) },
      { name: 'Detail', kind: 'wide', cell: ({ detail }) => detail },
    ],
    circuits === 'failed' ? [] : circuits,
    html`<strong>${circuits === 'failed' ? 'The circuits could not be asked' : 'No circuits'}</strong>`,
  )
  return card('Circuits', rows)
}
