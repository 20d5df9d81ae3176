import fc from 'fast-check'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { ResultStore } from '../../src/idempotency/remember/index.ts'
import type { HeldClaim } from '../../src/idempotency/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

/** Things that happen to a store; numbers pick a key, a claim made before, or a time. */
type Operation =
  | { readonly do: 'claim'; readonly key: number; readonly fingerprint: string | null }
  | { readonly do: 'claim again'; readonly claim: number }
  | { readonly do: How; readonly claim: number }
  | { readonly do: 'read'; readonly claim: number }
  | { readonly do: 'wait'; readonly ms: number }

/** What a claim may do. */
type How = 'renew' | 'complete' | 'release' | 'fail' | 'keep'

export const leaseMs = 10_000
export const retainMs = 60_000

const claim = fc.nat({ max: 12 })
export const operations: fc.Arbitrary<Operation[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('claim' as const),
        key: fc.nat({ max: 2 }),
        fingerprint: fc.constantFrom(null, null, 'one', 'other'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('claim again' as const), claim }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('renew' as const, 'complete' as const, 'release' as const, 'fail' as const),
        claim,
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('keep' as const, 'read' as const), claim }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(leaseMs + 1000, retainMs + 1000) }),
    },
  ),
  { maxLength: 30 },
)

/** One operation as it went: which claim did it to which key, and the answer without its token. */
export interface Done {
  readonly do: Operation['do']
  readonly claim: number
  readonly key: string
  readonly atMs: number
  readonly answer: unknown
}

/** Does all of it to a store, and tells how it went. */
export async function perform(
  store: ResultStore,
  scope: string,
  wait: (ms: number) => Promise<void>,
  todo: readonly Operation[],
): Promise<Done[]> {
  const made: { readonly key: string; readonly fingerprint: string | null; held?: HeldClaim }[] = []
  const done: Done[] = []
  let atMs = 0
  for (const operation of todo) {
    if (operation.do === 'wait') {
      await wait(operation.ms)
      atMs += operation.ms
      continue
    }
    if (operation.do === 'claim') made.push({ key: `key-${operation.key}`, fingerprint: operation.fingerprint })
    const claim = operation.do === 'claim' ? made.length - 1 : operation.claim % Math.max(made.length, 1)
    const one = made[claim]
    if (one === undefined) continue
    const { key, fingerprint, held } = one
    if (operation.do === 'claim' || operation.do === 'claim again') {
      const answer = await store.claim({ scope, key, owner: `${scope}-${claim}`, leaseMs, fingerprint })
      if (answer.state === 'claimed') one.held = { scope, key, token: answer.token }
      const { token: _token, retryAfterMs: _retryAfterMs, ...rest } = { token: 0n, retryAfterMs: 0, ...answer }
      done.push({ do: operation.do, claim, key, atMs, answer: rest })
    } else if (operation.do === 'read') {
      const result = await store.resultOf(scope, key)
      done.push({ do: 'read', claim, key, atMs, answer: result && Buffer.from(result).toString() })
    } else if (held !== undefined) {
      const answer = await act(store, operation.do, held, { claim, number: done.length })
      done.push({ do: operation.do, claim, key, atMs, answer })
    }
  }
  return done
}

/** What may never happen, whatever was asked: the first thing that did, or `undefined`. */
export function firstBreach(done: readonly Done[]): string | undefined {
  const holders = new Map<string, { claim: number; untilMs: number; settled: string }>()
  for (const { do: what, claim, key, atMs, answer } of done) {
    const holder = holders.get(key)
    const free = holder === undefined || holder.settled === 'release' || holder.untilMs <= atMs
    const state = typeof answer === 'object' && answer !== null ? String(Reflect.get(answer, 'state')) : answer
    if (state === 'claimed') {
      if (holder?.claim !== claim && !free) return `${key} was given to ${claim} while ${holder.claim} had it`
      holders.set(key, { claim, untilMs: atMs + leaseMs, settled: '' })
    } else if (what === 'read') {
      const result = typeof answer === 'string' ? answer : null
      const own = holder?.settled === 'complete' && result?.startsWith(`${holder.claim}.`) === true
      if (result !== null && !own) return `${key} has the result ${result}, which its claim did not keep`
    } else if (state === 'completed' && holder?.settled !== 'complete')
      return `${key} is completed, but nobody did that`
    else if (state === 'failed' && holder?.settled !== 'fail') return `${key} has failed, but nobody said so`
    else if (state === 'in-progress' && (holder === undefined || holder.settled !== '')) return `nobody works on ${key}`
    else if (state === 'ok') {
      if (holder?.claim !== claim) return `${claim} changed ${key}, which ${holder?.claim} has`
      if (what === 'keep') continue
      const forMs = what === 'renew' ? leaseMs : retainMs
      holders.set(key, { claim, untilMs: atMs + forMs, settled: what === 'renew' ? '' : what })
    }
  }
  return undefined
}

function act(
  store: ResultStore,
  how: How,
  held: HeldClaim,
  { claim, number }: { readonly claim: number; readonly number: number },
) {
  switch (how) {
    case 'keep':
      return store.keepResult(held, Buffer.from(`${claim}.${number}`))
    case 'renew':
      return store.renew(held, leaseMs)
    case 'complete':
      return store.complete(held, retainMs)
    case 'release':
      return store.release(held, number)
    case 'fail':
      return store.fail(
        held,
        { reason: 'attempts', errorName: 'Error', errorMessage: `no. ${number}`, attempts: number },
        retainMs,
      )
  }
}

/** What the memory store answers to the same: the model of the others. */
export async function performInMemory(todo: readonly Operation[]): Promise<Done[]> {
  const clock = fakeClock()
  return perform(memoryIdempotencyStore({ clock }), 'model', clock.advance, todo)
}
