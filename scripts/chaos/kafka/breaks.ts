import { registerHooks } from 'node:module'
import type { TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'

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

interface Patch {
  readonly file: string
  readonly from: string
  readonly to: string
}

const patches: Readonly<Record<string, Patch>> = {
  'highest-offset': {
    file: 'consumer/log/assignment.ts',
    from: 'return oldest === undefined ? this.next : this.#offsetOf(oldest)',
    to: 'return this.next',
  },
  'ownership-guard': {
    file: 'consumer/log/assignment.ts',
    from: 'if (!isSame || still === undefined || isOvertaken(owned, still.committed)) this.#giveUp(owned, reason)',
    to: 'if (false) this.#giveUp(owned, reason)',
  },
}

/** Changes the source as it is loaded; call it before the module is imported. Fails where the source has moved on. */
export function plant(name: string | undefined): void {
  const patch = patches[name ?? '']
  if (patch === undefined) return
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      if (!url.endsWith(patch.file)) return loaded
      const source = Buffer.from(loaded.source as Uint8Array).toString()
      if (!source.includes(patch.from)) throw new Error(`cannot plant ${name}: ${patch.file} has changed`)
      return { ...loaded, source: source.replace(patch.from, patch.to) }
    },
  })
}
