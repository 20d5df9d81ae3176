import assert from 'node:assert/strict'
import { failure, hold, longMs } from './idempotency-store-bench.ts'
import {
  append,
  appendOf,
  asking,
  keysIn,
  parkFirst,
  pipeline,
  rejoinOf,
  takeLane,
  type ParkingStoreCases,
} from './parking-store-bench.ts'

/** What becomes of a message that an operator sends again. */
export const rejoinCases: ParkingStoreCases = {
  async 'D-8 puts a message that was sent again into a lane, which begins with it, so that live ones of its key wait'({
    store,
  }) {
    const dead = await hold(store, asking('dead'))
    await store.fail(dead, failure, longMs)
    assert.equal(await store.rejoin(rejoinOf('dead', 7)), 'parked')
    assert.equal((await store.claim(asking('live'))).state, 'parked')
    assert.equal(await append(store, appendOf('live')), 'appended')
    const lease = await takeLane(store)
    assert.deepEqual(await keysIn(store, lease), ['dead', 'live'])
    assert.equal((await store.claim({ ...asking('dead', lease.token), generation: 7 })).state, 'claimed')
  },

  async 'puts it behind what is parked of its key'({ store }) {
    const dead = await hold(store, asking('dead'))
    await store.fail(dead, failure, longMs)
    await parkFirst(store, 'one')
    await append(store, appendOf('two'))
    assert.equal(await store.rejoin(rejoinOf('dead', 7)), 'parked')
    assert.equal(await store.rejoin(rejoinOf('dead', 7)), 'parked')
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two', 'dead'])
  },

  async 'P-21 lets a blocked head that was sent again go on at its place, once'({ store }) {
    await parkFirst(store, 'dead', { afterMs: null, failure })
    await append(store, appendOf('two'))
    const body = Buffer.from('mended')
    assert.equal(await store.rejoin(rejoinOf('dead', 7, { body })), 'parked')
    const lease = await takeLane(store)
    assert.deepEqual(await keysIn(store, lease), ['dead', 'two'])
    const [head] = (await store.load(lease, 1))?.rows ?? []
    assert.equal(head?.generation, 7)
    assert.deepEqual(Buffer.from(head.body ?? []), body)
    // An older one that comes late changes nothing.
    assert.equal(await store.rejoin(rejoinOf('dead', 6)), 'parked')
    assert.equal((await store.load(lease, 1))?.rows[0]?.generation, 7)
    assert.equal((await store.claim({ ...asking('dead', lease.token), generation: 7 })).state, 'claimed')
  },

  async 'P-21 lets what a blocked head was edited to take its place'({ store }) {
    await parkFirst(store, 'dead', { afterMs: null, failure })
    await append(store, appendOf('two'))
    assert.equal(await store.rejoin(rejoinOf('edited', 7, { replaces: 'dead' })), 'parked')
    const lease = await takeLane(store)
    assert.deepEqual(await keysIn(store, lease), ['edited', 'two'])
    assert.equal((await store.claim({ ...asking('edited', lease.token), generation: 7 })).state, 'claimed')
  },

  async 'replaces nothing but the head that blocks'({ store }) {
    await parkFirst(store, 'one')
    await append(store, appendOf('two'))
    assert.equal(await store.rejoin(rejoinOf('edited', 7, { replaces: 'two' })), 'parked')
    assert.equal(await store.rejoin(rejoinOf('other', 8, { replaces: 'one' })), 'parked')
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two', 'edited', 'other'])
  },

  async 'leaves to the claim what is completed, and what failed again'({ store }) {
    await store.complete(await hold(store, asking('done')), longMs)
    const again = await hold(store, { ...asking('failed'), generation: 7 })
    await store.fail(again, failure, longMs)
    assert.equal(await store.rejoin(rejoinOf('done', 7)), 'again')
    assert.equal(await store.rejoin(rejoinOf('failed', 7)), 'again')
    assert.equal(await store.countLanes(pipeline, 10), 0)
    assert.equal(await store.rejoin(rejoinOf('failed', 8)), 'parked')
  },

  async 'keeps a row that was sent again while its worker was about to remove it'({ store }) {
    await parkFirst(store, 'one')
    const lease = await takeLane(store)
    await store.rejoin(rejoinOf('one', 7))
    await store.remove([{ scope: 'contract', key: 'one', generation: 0 }])
    assert.deepEqual(await keysIn(store, lease), ['one'])
    await store.remove([{ scope: 'contract', key: 'one', generation: 7 }])
    assert.deepEqual(await keysIn(store, lease), [])
  },
}
