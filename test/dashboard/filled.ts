import { headersFrom } from '../../src/core/message.ts'
import type { Letter, LetterOperations, LetterState, Redrive } from '../../src/dead-letter/store.ts'
import type { ClaimRecord, OperatorStore, ParkedLane } from '../../src/operations/store.ts'
import { emptyStore } from './support.ts'

const dayMs = 86_400_000
const atMs = Date.UTC(2026, 6, 1, 12)

function letter(id: string, state: LetterState): Letter {
  return {
    ...{ id, state, pipeline: 'billing', destination: 'orders', messageId: `order-${id}`, key: 'customer-7' },
    ...{ reason: 'permanent', errorName: 'RangeError', errorMessage: 'amount 7 is too large', errorCode: 'E1' },
    ...{ errorStack: 'RangeError\n  at charge', group: 'g1', deaths: 2, redrives: 1, attempts: 3, type: 'order' },
    origin: { system: 'kafka', destination: 'orders', partition: '1', position: '42', group: 'billing' },
    headers: headersFrom([
      ['tenant', 't1'],
      ['line', 'a\nb'],
    ]),
    body: Buffer.from('{"cents":7}'),
    ...{
      traceId: 'a'.repeat(32),
      subject: 'ana',
      claimScope: 'billing',
      claimKey: `order-${id}`,
      claimState: 'failed',
    },
    history: [{ timeMs: atMs, errorName: 'RangeError', errorMessage: 'too large', host: 'h1', version: '1' }],
    ...{ replaces: null, replacedBy: null, deadMs: atMs, firstMs: atMs, changedMs: atMs, producedMs: atMs },
    ...{ generation: 3, settled: 3, bodyKey: null },
  }
}

const letters = new Map(
  (['dead', 'redriving', 'dropped', 'replaced', 'resolved'] as const).map((state, at) => [
    `${at + 1}`,
    letter(`${at + 1}`, state),
  ]),
)

const redrives: readonly Redrive[] = (['running', 'paused', 'done'] as const).map((state, at) => ({
  ...{ id: `${at + 1}`, state, route: 'pipeline', by: 'ana', filter: { group: 'g1' }, perSecond: 10, canary: 2 },
  ...{ maxRedrives: 3, total: 5, open: state === 'done' ? 0 : 3, results: { resolved: 2 }, createdMs: atMs },
  endedMs: state === 'done' ? atMs : null,
}))

const claims: readonly ClaimRecord[] = ['order-1', 'order-2'].map((key, at) => ({
  ...{ scope: 'billing', key, state: 'in-progress', attempts: 1, token: '1', generation: 0, owner: 'host/1' },
  ...{ leaseMs: atMs + (at === 0 ? -dayMs : 365_000 * dayMs), retainedMs: null, failure: null },
}))

export const lanes: readonly ParkedLane[] = [
  {
    ...{ scope: 'billing', lane: 'k6:orderscustomer-7', held: false, claimKey: 'order-1', key: 'customer-7' },
    ...{ messages: 3, sinceMs: atMs, nextMs: null, attempts: 4, error: 'PermanentError: no address' },
  },
  {
    ...{ scope: 'billing', lane: 'k6:orderscustomer-8', held: false, claimKey: 'order-9', key: 'customer-8' },
    ...{ messages: 1, sinceMs: atMs, nextMs: atMs + dayMs, attempts: 1, error: null },
  },
]

/** A store with something on every page. It does nothing. */
export function filledStore(): OperatorStore {
  const empty = emptyStore()
  const all = [...letters.values()]
  const list: LetterOperations['list'] = async (_, { states, before } = {}) => ({
    letters: all.filter(({ state }) => states?.includes(state) ?? (state === 'dead' || state === 'redriving')),
    next: before === undefined ? '1.1' : null,
  })
  const groups = [
    {
      ...{ group: 'g1', pipeline: 'billing', letters: 2, firstMs: atMs, lastMs: atMs, shape: 'amount <n>' },
      ...{ errorName: 'RangeError', errorMessage: 'amount 7' },
    },
  ]
  return {
    ...empty,
    letters: {
      ...empty.letters,
      list,
      count: async () => 2,
      groups: async () => groups,
      tally: async () => ({ letters: 2, groups }),
      letter: async (id) => letters.get(id),
      preview: async () => {
        return { matched: 9, free: 5, taken: 1, guarded: 1, completed: 1, conflicts: 1, keys: 4, looked: 9 }
      },
      redrives: async () => redrives,
      redrive: async (id) => redrives.find((each) => each.id === id),
      redriveItems: async (redrive) =>
        ['1', '2'].map((id, at) => ({
          ...{ letter: id, redrive, by: 'ana', createdMs: atMs, generation: at },
          result: at === 0 ? ('resolved' as const) : null,
        })),
      log: async () =>
        ['drop', 'redrive'].map((act, at) => ({
          ...{ id: `${at}`, atMs, by: 'ana', act, letter: '1', redrive: at === 0 ? null : '1', detail: { n: at } },
        })),
    },
    outbox: async () => ({
      ...{ pending: 3, pendingLimit: 1000, oldestAgeMs: 5000, delayed: 1, dead: 2 },
      shards: [
        { shard: 0, owner: 'relay', epoch: 1n, held: true },
        { shard: 1, owner: null, epoch: 1n, held: false },
      ],
    }),
    outboxDead: async () =>
      ['8', '9'].map((position) => ({
        ...{ position, destination: 'orders', key: 'k', messageId: `m${position}`, error: 'too large' },
        ...{ addedMs: atMs, diedMs: atMs },
      })),
    keys: async () => claims,
    claims: async () => claims.map((claim, at) => ({ ...claim, scope: ['billing', 'shipping'][at] ?? '' })),
    parked: async ({ lane } = {}) => lanes.filter((each) => lane === undefined || each.lane === lane),
    parkedMessages: async () =>
      ['order-1', 'order-2'].map((claimKey) => ({
        ...{ claimScope: 'billing', claimKey, generation: 0, attempts: 1, bytes: 10, sinceMs: atMs, error: null },
      })),
    traces: async () => ({
      ...{ letters: all.slice(0, 1), claims, redrives: [], outbox: [], parked: [], journal: [], acts: [] },
      incomplete: ['the outbox'],
    }),
  }
}
