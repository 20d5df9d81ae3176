import assert from 'node:assert/strict'
import {
  ask,
  failure,
  hold,
  longMs,
  pastShortMs,
  shortMs,
  stateOf,
  type IdempotencyStoreCases,
} from './idempotency-store-bench.ts'

/** What a redrive may do with a key: the permission travels with the message, and is spent in the claim. */
export const redriveCases: IdempotencyStoreCases = {
  async 'D-1 D-2 gives a failed key to a newer redrive, once'({ store }) {
    await store.fail(await hold(store, ask('a')), failure, longMs)
    assert.equal((await store.claim(ask('a'))).state, 'failed')
    const redriven = await hold(store, ask('a', { generation: 7 }))
    assert.equal((await store.claim(ask('a', { generation: 8 }))).state, 'in-progress')
    assert.equal(await store.fail(redriven, failure, longMs), 'ok')
    for (const generation of [0, 1, 6, 7])
      assert.deepEqual(await store.claim(ask('a', { generation })), { state: 'failed', failure })
    assert.equal((await store.claim(ask('a', { generation: 8 }))).state, 'claimed')
  },

  async 'remembers the generation of a failure that is reported twice'({ store }) {
    const redriven = await hold(store, ask('a', { generation: 7 }))
    for (let times = 0; times < 2; times++) assert.equal(await store.fail(redriven, failure, longMs), 'ok')
    assert.equal((await store.claim(ask('a', { generation: 7 }))).state, 'failed')
    assert.equal((await store.claim(ask('a', { generation: 999_999_999_999_999 }))).state, 'claimed')
  },

  async 'D-4 begins to count the attempts of a redriven key anew'({ store }) {
    await store.fail(await hold(store, ask('a')), { ...failure, attempts: 5 }, longMs)
    const redriven = await hold(store, ask('a', { generation: 7 }))
    assert.equal(redriven.attempts, 1)
    await store.release(redriven, 1)
    assert.equal((await hold(store, ask('a', { generation: 7 }))).attempts, 2)
  },

  async 'D-5 takes the fingerprint of a newer redrive for the key'({ store }) {
    await store.fail(await hold(store, ask('a', { fingerprint: 'one' })), failure, longMs)
    assert.equal((await store.claim(ask('a', { fingerprint: 'other' }))).state, 'conflict')
    await store.complete(await hold(store, ask('a', { fingerprint: 'other', generation: 7 })), longMs)
    assert.equal((await store.claim(ask('a', { fingerprint: 'one' }))).state, 'conflict')
    assert.equal((await store.claim(ask('a', { fingerprint: 'other' }))).state, 'completed')
  },

  async 'never gives a completed key to a redrive'({ store }) {
    await store.complete(await hold(store, ask('a')), longMs)
    assert.equal((await store.claim(ask('a', { generation: 7 }))).state, 'completed')
  },

  async 'never takes a key in progress away from its holder for a redrive'({ store, advance }) {
    const first = await hold(store, ask('a', { leaseMs: shortMs }))
    assert.equal((await store.claim(ask('a', { generation: 7 }))).state, 'in-progress')
    await advance(pastShortMs)
    const second = await hold(store, ask('a', { generation: 7 }))
    assert.equal(await store.complete(first, longMs), 'lost')
    assert.equal(await store.fail(second, failure, longMs), 'ok')
    assert.equal((await store.claim(ask('a', { generation: 7 }))).state, 'failed')
  },

  async 'D-2 knows, of keys that are claimed at once, which one is redriven'({ store }) {
    for (const key of ['a', 'b']) await store.fail(await hold(store, ask(key)), failure, longMs)
    const asked = [ask('a'), ask('b', { generation: 7 }), ask('c')]
    const answers = (await Promise.all(asked.map((request) => store.claim(request)))).map(stateOf)
    assert.deepEqual(answers, ['failed', 'claimed', 'claimed'])
  },

  async 'D-3 does not answer a redrive with what another delivery of the key was told'({ store }) {
    await store.fail(await hold(store, ask('a')), failure, longMs)
    const asked = [ask('a'), ask('a', { generation: 7 }), ask('a'), ask('a', { generation: 8 })]
    const answers = (await Promise.all(asked.map((request) => store.claim(request)))).map(stateOf)
    assert.equal(answers.filter((state) => state === 'claimed').length, 1, answers.join(' '))
    assert.ok(answers[1] === 'claimed' || answers[3] === 'claimed', answers.join(' '))
  },
}
