import type { Failure } from '../../src/core/errors.ts'
import type { ClaimRequest, HeldClaim, IdempotencyStore } from '../../src/idempotency/store.ts'

/** One call that one of the owners makes on the one key there is, or time that passes for all. */
export type Turn = { readonly owner: number; readonly do: Call } | { readonly do: 'lease ends' }
type Call = 'claim' | 'claim again' | 'renew' | 'complete' | 'release' | 'fail'

export interface Answered {
  readonly turn: Turn
  readonly answer: string
}

const calls: readonly Call[] = ['claim', 'claim again', 'renew', 'complete', 'release', 'fail']
const retainMs = 86_400_000
const failure: Failure = { reason: 'attempts', errorName: 'Error', errorMessage: 'no', attempts: 2 }

/** Every order in which so many owners can make so many calls, those that begin the same behind one another. */
export function* interleavings(owners: number, depth: number): Generator<readonly Turn[]> {
  const turns: Turn[] = []

  function* from(claimed: ReadonlySet<number>): Generator<readonly Turn[]> {
    if (turns.length === depth) {
      yield [...turns]
      return
    }
    for (let owner = 0; owner < owners; owner++) {
      for (const call of calls) {
        // Nobody can settle what it never claimed, and the owners differ by their number alone.
        if (call !== 'claim' && !claimed.has(owner)) continue
        if (call === 'claim' && owner > claimed.size) continue
        turns.push({ owner, do: call })
        yield* from(new Set([...claimed, owner]))
        turns.pop()
      }
    }
    if (claimed.size > 0 && turns.at(-1)?.do !== 'lease ends') {
      turns.push({ do: 'lease ends' })
      yield* from(claimed)
      turns.pop()
    }
  }

  yield* from(new Set())
}

/** Makes the calls one after another and tells what was answered; tokens by the order in which they were given. */
export async function play(
  store: IdempotencyStore,
  turns: readonly Turn[],
  { key, leaseMs, leaseEnds }: { key: string; leaseMs: number; leaseEnds: () => Promise<void> },
): Promise<readonly Answered[]> {
  const requests = new Map<number, ClaimRequest>()
  const held = new Map<number, HeldClaim>()
  const tokens: bigint[] = []
  const answers: Answered[] = []
  let asked = 0

  function fresh(owner: number): ClaimRequest {
    const request = { scope: 'interleaved', key, owner: `${owner}-${asked++}`, leaseMs, fingerprint: null }
    requests.set(owner, request)
    return request
  }

  async function claim(owner: number, request: ClaimRequest): Promise<string> {
    const result = await store.claim(request)
    if (result.state !== 'claimed') return result.state
    held.set(owner, { scope: request.scope, key, token: result.token })
    if (!tokens.includes(result.token)) {
      // A fence that does not grow keeps no zombie out.
      if (tokens.some((token) => token >= result.token)) return 'claimed with a token that is no higher'
      tokens.push(result.token)
    }
    return `claimed, token ${tokens.indexOf(result.token) + 1}, attempts ${result.attempts}`
  }

  async function settle(owner: number, call: Exclude<Call, 'claim' | 'claim again'>): Promise<string> {
    const mine = held.get(owner)
    if (mine === undefined) return 'nothing was claimed'
    if (call === 'renew') return store.renew(mine, leaseMs)
    if (call === 'complete') return store.complete(mine, retainMs)
    return call === 'release' ? store.release(mine, 1) : store.fail(mine, failure, retainMs)
  }

  for (const turn of turns) {
    let answer = ''
    if (turn.do === 'lease ends') await leaseEnds()
    else if (turn.do === 'claim') answer = await claim(turn.owner, fresh(turn.owner))
    else if (turn.do === 'claim again') answer = await claim(turn.owner, requests.get(turn.owner) ?? fresh(turn.owner))
    else answer = await settle(turn.owner, turn.do)
    answers.push({ turn, answer })
  }
  return answers
}

/** What may never happen, by the answers alone: who holds the key is known from them. */
export function breach(answers: readonly Answered[]): string | undefined {
  let holder: { readonly owner: number; isLive: boolean } | undefined
  let settled: string | undefined
  for (const { turn, answer } of answers) {
    if (turn.do === 'lease ends') {
      if (holder !== undefined) holder.isLive = false
      continue
    }
    const mine = holder?.owner === turn.owner
    if (answer.startsWith('claimed')) {
      if (answer.includes('no higher')) return answer
      if (settled !== undefined) return `claimed after it was ${settled}`
      if (holder?.isLive === true && !mine) return 'two live claims at a time'
      if (holder?.isLive === true && turn.do === 'claim') return 'a rival of the same process got a live claim'
      holder = { owner: turn.owner, isLive: true }
    } else if (turn.do === 'renew' && answer === 'ok') {
      if (!mine) return 'renewed a claim that somebody else holds'
      if (holder !== undefined) holder.isLive = true
    } else if (answer === 'ok') {
      // Sent again after it was settled in the same way: nothing changes.
      if (settled === turn.do) continue
      if (!mine && holder !== undefined) return `${turn.do}: ok for a claim that somebody else holds`
      if (settled !== undefined) return `${turn.do}: ok after ${settled}`
      if (turn.do !== 'release') settled = turn.do
      holder = undefined
    } else if (answer === 'completed' && settled !== 'complete') return 'completed, and nobody completed it'
  }
  return undefined
}
