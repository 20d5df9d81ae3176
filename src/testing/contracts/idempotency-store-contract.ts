import assert from 'node:assert/strict'
import type { Failure } from '../../core/errors.ts'
import { contractOf, type ContractCase } from './contract.ts'
import { keyCases } from './idempotency-key-cases.ts'
import { redriveCases } from './idempotency-redrive-cases.ts'
import {
  ask,
  failure,
  hold,
  longMs,
  pastShortMs,
  shortMs,
  stateOf,
  type IdempotencyStoreCases,
  type IdempotencyStoreHarness,
} from './idempotency-store-bench.ts'

/**
 * What every idempotency store must promise, as data for any test runner:
 * `for (const { name, run } of idempotencyStoreContract(create)) it(name, run)`.
 * `create` is called for every case; its store must not know any key yet.
 */
export function idempotencyStoreContract(
  create: () => Promise<IdempotencyStoreHarness> | IdempotencyStoreHarness,
): readonly ContractCase[] {
  return contractOf(create, { ...cases, ...keyCases, ...redriveCases })
}

const cases: IdempotencyStoreCases = {
  async 'gives an unknown key to the first that asks'({ store }) {
    const answer = await store.claim(ask('a'))
    assert.equal(answer.state, 'claimed')
    assert.equal(typeof answer.token, 'bigint')
    assert.ok(answer.token > 0n)
    assert.equal(answer.attempts, 1)
  },

  async 'tells a second claim that the key is in progress, and for how long at most'({ store }) {
    await hold(store, ask('a'))
    const answer = await store.claim(ask('a'))
    assert.equal(answer.state, 'in-progress')
    assert.ok(answer.retryAfterMs > 0 && answer.retryAfterMs <= longMs, String(answer.retryAfterMs))
  },

  async 'I-1 lets one of 100 claims made at once win'({ store }) {
    const answers = await Promise.all(Array.from({ length: 100 }, () => store.claim(ask('a'))))
    assert.deepEqual(answers.map(stateOf).sort(), ['claimed', ...Array.from({ length: 99 }, () => 'in-progress')])
  },

  async 'gives 100 different keys out at once'({ store }) {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, at) => store.claim(ask(`key-${at}`))))
    assert.deepEqual(new Set(answers.map(stateOf)), new Set(['claimed']))
  },

  async 'I-17 keeps the first fingerprint that a released key is claimed with'({ store }) {
    await store.release(await hold(store, ask('a')), 1)
    await store.complete(await hold(store, ask('a', { fingerprint: 'one' })), longMs)
    assert.equal((await store.claim(ask('a', { fingerprint: 'other' }))).state, 'conflict')
    assert.equal((await store.claim(ask('a', { fingerprint: 'one' }))).state, 'completed')
  },

  async 'sends nothing whose signal has aborted: such a claim rejects, and the key stays free'({ store }) {
    const signal = AbortSignal.abort(new Error('stopped'))
    await assert.rejects(store.claim(ask('a'), { signal }), /stopped/)
    const held = await hold(store, ask('a'))
    assert.equal(held.attempts, 1)
    await assert.rejects(store.renew(held, shortMs, { signal }), /stopped/)
    assert.equal(await store.renew(held, longMs, { signal: new AbortController().signal }), 'ok')
  },

  async 'answers completed once a claim is completed'({ store }) {
    assert.equal(await store.complete(await hold(store, ask('a')), longMs), 'ok')
    assert.equal((await store.claim(ask('a'))).state, 'completed')
    assert.equal((await store.claim(ask('a'))).state, 'completed')
  },

  async 'I-18 I-27 gives a released key out again and goes on counting its attempts'({ store }) {
    const first = await hold(store, ask('a'))
    assert.equal(await store.release(first, 3), 'ok')
    const second = await hold(store, ask('a'))
    assert.equal(second.attempts, 4)
    assert.equal(await store.release(second, 3), 'ok')
    assert.equal((await hold(store, ask('a'))).attempts, 4)
  },

  async 'remembers a final failure and tells everybody'({ store }) {
    assert.equal(await store.fail(await hold(store, ask('a')), failure, longMs), 'ok')
    for (let round = 0; round < 2; round++) assert.deepEqual(await store.claim(ask('a')), { state: 'failed', failure })
  },

  async 'takes a failure with any text'({ store }) {
    const hostile: Failure = { ...failure, errorName: 'E\0\ud800', errorMessage: `\0\ud800'"\\\n${'ü'.repeat(1000)}` }
    assert.equal(await store.fail(await hold(store, ask('a')), hostile, longMs), 'ok')
    const answer = await store.claim(ask('a'))
    assert.equal(answer.state, 'failed')
    assert.equal(answer.failure.reason, hostile.reason)
    assert.equal(answer.failure.attempts, hostile.attempts)
    assert.ok(answer.failure.errorMessage.endsWith('ü'.repeat(1000)))
  },

  async 'I-6 I-8 hands an expired lease to the next owner and locks the first out'({ store, advance }) {
    const first = await hold(store, ask('a', { leaseMs: shortMs }))
    await advance(pastShortMs)
    const second = await hold(store, ask('a'))
    assert.ok(second.token > first.token)
    assert.equal(second.attempts, 2)
    assert.equal(await store.renew(first, longMs), 'lost')
    assert.equal(await store.complete(first, longMs), 'lost')
    assert.equal(await store.fail(first, failure, longMs), 'lost')
    assert.equal(await store.release(first, 9), 'lost')
    assert.equal((await store.claim(ask('a'))).state, 'in-progress')
    assert.equal(await store.complete(second, longMs), 'ok')
    assert.equal(await store.release(first, 9), 'lost')
    assert.equal((await store.claim(ask('a'))).state, 'completed')
  },

  async 'I-20 counts every claim that never ended as an attempt'({ store, advance }) {
    for (let attempt = 1; attempt <= 3; attempt++) {
      assert.equal((await hold(store, ask('a', { leaseMs: shortMs }))).attempts, attempt)
      await advance(pastShortMs)
    }
  },

  async 'lets one of 20 claims made at once take an expired lease over'({ store, advance }) {
    await hold(store, ask('a', { leaseMs: shortMs }))
    await advance(pastShortMs)
    const answers = await Promise.all(Array.from({ length: 20 }, () => store.claim(ask('a'))))
    assert.equal(answers.filter(({ state }) => state === 'claimed').length, 1)
    assert.equal(answers.filter(({ state }) => state === 'in-progress').length, 19)
  },

  async 'I-9 keeps a lease that is renewed'({ store, advance }) {
    const held = await hold(store, ask('a', { leaseMs: shortMs }))
    assert.equal(await store.renew(held, longMs), 'ok')
    await advance(pastShortMs)
    assert.equal((await store.claim(ask('a'))).state, 'in-progress')
  },

  async 'lets a claim whose lease ran out go on while nobody else has the key'({ store, advance }) {
    const held = await hold(store, ask('a', { leaseMs: shortMs }))
    await advance(pastShortMs)
    assert.equal(await store.renew(held, shortMs), 'ok')
    await advance(pastShortMs)
    assert.equal(await store.complete(held, longMs), 'ok')
    assert.equal((await store.claim(ask('a'))).state, 'completed')
  },

  async 'I-13 gives the key back to a claim that is sent again, its attempts unchanged'({ store, advance }) {
    const request = ask('a', { leaseMs: shortMs })
    const first = await hold(store, request)
    const again = await hold(store, request)
    assert.equal(again.attempts, 1)
    assert.ok(again.token >= first.token)
    await advance(pastShortMs)
    const late = await hold(store, request)
    assert.equal(late.attempts, 1)
    assert.equal(await store.complete(late, longMs), 'ok')
    assert.equal((await store.claim(request)).state, 'completed')
  },

  async 'I-33 answers the same claim, sent twice at once, the same'({ store }) {
    const request = ask('a')
    const [one, other] = await Promise.all([hold(store, request), hold(store, request)])
    assert.equal(one.attempts, 1)
    assert.equal(other.attempts, 1)
    assert.equal(await store.complete(other, longMs), 'ok')
  },

  async 'answers a settling call that is sent again as it did the first time'({ store }) {
    const completed = await hold(store, ask('completed'))
    const released = await hold(store, ask('released'))
    const failed = await hold(store, ask('failed'))
    for (let round = 0; round < 2; round++) {
      assert.equal(await store.complete(completed, longMs), 'ok')
      assert.equal(await store.release(released, 1), 'ok')
      assert.equal(await store.fail(failed, failure, longMs), 'ok')
    }
    assert.equal((await store.claim(ask('completed'))).state, 'completed')
    assert.equal((await hold(store, ask('released'))).attempts, 2)
    assert.equal((await store.claim(ask('failed'))).state, 'failed')
  },

  async 'changes nothing about a settled key'({ store }) {
    const held = await hold(store, ask('a'))
    assert.equal(await store.complete(held, longMs), 'ok')
    assert.equal(await store.renew(held, longMs), 'lost')
    assert.equal(await store.release(held, 1), 'lost')
    assert.equal(await store.fail(held, failure, longMs), 'lost')
    assert.equal((await store.claim(ask('a'))).state, 'completed')
  },

  async 'answers lost for a key it does not know'({ store }) {
    const held = { scope: 'contract', key: 'never', token: 1n }
    assert.equal(await store.renew(held, longMs), 'lost')
    assert.equal(await store.complete(held, longMs), 'lost')
    assert.equal(await store.release(held, 1), 'lost')
    assert.equal(await store.fail(held, failure, longMs), 'lost')
    assert.equal((await hold(store, ask('never'))).attempts, 1)
  },

  async 'forgets a settled key when its retention is over'({ store, advance }) {
    await store.complete(await hold(store, ask('completed', { fingerprint: 'one' })), shortMs)
    await store.fail(await hold(store, ask('failed', { fingerprint: 'one' })), failure, shortMs)
    await advance(pastShortMs)
    for (const key of ['completed', 'failed']) {
      const again = await hold(store, ask(key, { fingerprint: 'other' }))
      assert.equal(again.attempts, 1)
      assert.equal(await store.complete(again, longMs), 'ok')
      assert.equal((await store.claim(ask(key, { fingerprint: 'one' }))).state, 'conflict')
    }
  },

  async 'I-12 keeps lease and retention apart'({ store, advance }) {
    await store.complete(await hold(store, ask('a', { leaseMs: shortMs })), longMs)
    await hold(store, ask('b', { leaseMs: shortMs }))
    await advance(pastShortMs)
    assert.equal((await store.claim(ask('a'))).state, 'completed')
    assert.equal((await store.claim(ask('b'))).state, 'claimed')
  },

  async 'gives every claim of a key a higher token'({ store }) {
    const tokens: bigint[] = []
    for (let round = 1; round <= 20; round++) {
      const held = await hold(store, ask('a'))
      tokens.push(held.token)
      await store.release(held, round)
    }
    assert.deepEqual(
      tokens,
      [...new Set(tokens)].sort((a, b) => (a < b ? -1 : 1)),
    )
  },

  async 'serves many claims, renewals and completions at once'({ store }) {
    const keys = Array.from({ length: 300 }, (_, at) => `key-${at % 100}`)
    const answers = await Promise.all(keys.map((key) => store.claim(ask(key)).then((answer) => ({ key, answer }))))
    const held = answers.flatMap(({ key, answer }) =>
      answer.state === 'claimed' ? [{ scope: 'contract', key, token: answer.token }] : [],
    )
    assert.equal(held.length, 100)
    const renewed = await Promise.all(held.map((each) => store.renew(each, longMs)))
    const settled = await Promise.all(
      held.flatMap((each) => [store.complete(each, longMs), store.complete(each, longMs)]),
    )
    assert.deepEqual(new Set(renewed), new Set(['ok']))
    assert.deepEqual(new Set(settled), new Set(['ok']))
  },
}
