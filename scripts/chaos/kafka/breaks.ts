import type { TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'
import type { Patch } from '../brokers/plant.ts'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'token-check': 'the completion ignores that another claim has taken over',
  'early-key': 'the key is recorded before the handler succeeded',
  'highest-offset': 'the highest delivered offset is committed',
  'ownership-guard': 'partitions that went to another member are still worked on and committed',
} as const

export type BreakName = keyof typeof breaks

export function isBreakName(name: string): name is BreakName {
  return Object.hasOwn(breaks, name)
}

const retainMs = 7 * 86_400_000

export function brokenStore(
  store: TransactionalIdempotencyStore,
  name: string | undefined,
): TransactionalIdempotencyStore {
  if (name === 'token-check')
    return {
      ...store,
      async completeIn(tx, held, forMs) {
        await store.completeIn(tx, held, forMs)
        return 'ok'
      },
      renew: () => Promise.resolve('ok'),
    }
  if (name === 'early-key')
    return {
      ...store,
      async claim(request) {
        const answer = await store.claim(request)
        if (answer.state === 'claimed') await store.complete({ ...request, token: answer.token }, retainMs)
        return answer
      },
      completeIn: () => Promise.resolve('ok'),
      renew: () => Promise.resolve('ok'),
    }
  return store
}

const assignment = 'consumer/log/assignment.ts'

export const patches: Readonly<Record<string, Patch | readonly Patch[]>> = {
  // An owner whose lease is over notices by its own clock too: with that wall up the token is hardly ever asked for.
  'token-check': {
    file: 'idempotency/lease.ts',
    changes: [['return nowMs - goodMs >= leaseMs - roundingMs', 'return false']],
  },
  'highest-offset': {
    file: assignment,
    changes: [['return oldest === undefined ? this.next : this.#offsetOf(oldest)', 'return this.next']],
  },
  // Claims would stop the work that is done twice, so this one runs without them: see `graceful` in main.ts.
  'ownership-guard': {
    file: assignment,
    changes: [
      [
        'if (!isSame || still === undefined || isOvertaken(owned, still.committed)) this.#giveUp(owned, reason)',
        'if (!isSame || isOvertaken(owned, still?.committed)) this.#giveUp(owned, reason)',
      ],
    ],
  },
}
