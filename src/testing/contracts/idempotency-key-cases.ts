import assert from 'node:assert/strict'
import type { ClaimRequest } from '../../idempotency/store.ts'
import { ask, failure, hold, longMs, stateOf, type IdempotencyStoreCases } from './idempotency-store-bench.ts'

/** What tells one record from another: scopes, keys however strange, fingerprints. */
export const keyCases: IdempotencyStoreCases = {
  async 'I-10 I-17 keeps the fingerprint over every state, and refuses another one'({ store }) {
    const request = (fingerprint: string | null): ClaimRequest => ask('a', { fingerprint })
    const first = await hold(store, request('one'))
    assert.equal((await store.claim(request('other'))).state, 'conflict')
    assert.equal((await store.claim(request('one'))).state, 'in-progress')
    await store.release(first, 1)
    assert.equal((await store.claim(request('other'))).state, 'conflict')
    const second = await hold(store, request(null))
    assert.equal(await store.complete(second, longMs), 'ok')
    assert.equal((await store.claim(request('one'))).state, 'completed')
    assert.equal((await store.claim(request('other'))).state, 'conflict')
    assert.equal((await store.claim(request(null))).state, 'completed')
  },

  async 'settles claims of one key with different fingerprints, made at once'({ store }) {
    const fingerprints = ['one', 'other', null, 'one']
    const answers = await Promise.all(fingerprints.map((fingerprint) => store.claim(ask('a', { fingerprint }))))
    const winner = answers.findIndex(({ state }) => state === 'claimed')
    const kept = fingerprints[winner] ?? null
    const expected = fingerprints.map((each, at) => {
      if (at === winner) return 'claimed'
      return each === null || kept === null || each === kept ? 'in-progress' : 'conflict'
    })
    assert.deepEqual(answers.map(stateOf), expected)
    const failing = await hold(store, ask('b', { fingerprint: 'one' }))
    await store.fail(failing, failure, longMs)
    const later = ['one', 'other', null].map((fingerprint) => store.claim(ask('b', { fingerprint })))
    assert.deepEqual((await Promise.all(later)).map(stateOf), ['failed', 'conflict', 'failed'])
  },

  async 'I-24 keeps scopes apart, however they and their keys are put together'({ store }) {
    const pairs = [
      ['a', 'b:c'],
      ['a:b', 'c'],
      ['a', 'c'],
      ['', 'a:c'],
      ['a:c', ''],
      ['1:a', 'c'],
      ['a', '1:c'],
    ] as const
    for (const [scope, key] of pairs) await hold(store, ask(key, { scope }))
    const answers = await Promise.all(pairs.map(([scope, key]) => store.claim(ask(key, { scope }))))
    assert.deepEqual(new Set(answers.map(stateOf)), new Set(['in-progress']))
  },

  async 'keeps keys apart that look alike or mean something to somebody'({ store }) {
    const hostile = [
      ...['__proto__', 'constructor', 'toString', '', ' ', 'A', 'a', 'a ', '\u00e9', 'e\u0301', '🧵', '{a}', '{b}a'],
      ...["'; drop table x; --", '"', '\\', '%', '_', '\n', '\r\n', '$1', '{"a":1}', '{}', 'null', ',', 'a,b'],
      'x'.repeat(512),
      'ü'.repeat(512),
    ]
    const answers = await Promise.all(hostile.map((key) => store.claim(ask(key))))
    assert.deepEqual(
      answers.map(stateOf),
      hostile.map(() => 'claimed'),
    )
    for (const key of hostile) assert.equal((await store.claim(ask(key))).state, 'in-progress', JSON.stringify(key))
  },

  async 'refuses a key that it cannot keep, or keeps it, and no other key notices'({ store }) {
    const doubtful = ['\0', 'a\0b', 'x'.repeat(10_000), '\ud800', '\udc00']
    const claims = doubtful.map((key) => store.claim(ask(key)))
    const neighbours = Promise.all(['a', 'b'].map((key) => store.claim(ask(key))))
    for (const [at, { status }] of (await Promise.allSettled(claims)).entries())
      if (status === 'fulfilled') assert.equal((await store.claim(ask(doubtful[at] ?? ''))).state, 'in-progress')
    assert.deepEqual((await neighbours).map(stateOf), ['claimed', 'claimed'])
  },
}
