import assert from 'node:assert/strict'
import { hold, longMs, pastShortMs, shortMs } from './idempotency-store-bench.ts'
import {
  append,
  appendOf,
  asking,
  keysIn,
  lane,
  parkFirst,
  parkOf,
  pipeline,
  tailOf,
  takeLane,
  type ParkingStoreCases,
} from './parking-store-bench.ts'

const named = (key: string, generation = 0) => ({ scope: 'contract', key, generation })

/** What a worker may do with a lane, and what it may not do any more once it has lost it. */
export const workerCases: ParkingStoreCases = {
  async 'gives a lane to one of many workers, and none before its time'({ store }) {
    await parkFirst(store, 'one')
    await parkFirst(store, 'later', { afterMs: longMs, lane: 'later' }, 'later')
    const all = () =>
      Promise.all(
        Array.from({ length: 8 }, (_, at) =>
          store.claimLanes({ pipeline, limit: 5, owner: `worker-${at}`, leaseMs: longMs }),
        ),
      )
    assert.deepEqual(
      (await all()).flat().map((each) => each.lane),
      [lane],
    )
    assert.deepEqual((await all()).flat(), [])
  },

  async 'lets the holder of the lane claim past it, and nobody else'({ store }) {
    await parkFirst(store, 'one')
    const { token } = await takeLane(store)
    assert.equal((await store.claim(asking('one'))).state, 'parked')
    assert.equal((await store.claim(asking('one', token + 1_000n))).state, 'parked')
    assert.equal((await store.claim(asking('one', token))).state, 'claimed')
  },

  async 'P-11 locks a worker out whose lane another has taken over'({ store, advance }) {
    await parkFirst(store, 'one')
    const first = await takeLane(store, shortMs)
    await advance(pastShortMs)
    const second = await takeLane(store)
    assert.ok(second.token > first.token)
    assert.equal((await store.claim(asking('one', first.token))).state, 'parked')
    assert.equal(await store.load(first, 10), undefined)
    assert.deepEqual(await store.renewLanes([first, second], longMs), [second.token])
    assert.equal(await store.reschedule(first, 0), 'lost')
    assert.equal(await store.free(first, await tailOf(store, second)), 'lost')
  },

  async 'keeps a renewed lane from the others'({ store, advance }) {
    await parkFirst(store, 'one')
    const lease = await takeLane(store, shortMs)
    assert.deepEqual(await store.renewLanes([lease], longMs), [lease.token])
    await advance(pastShortMs)
    assert.deepEqual(await store.claimLanes({ pipeline, limit: 9, owner: 'other', leaseMs: longMs }), [])
  },

  async 'P-1 frees a lane only at the tail that was read as empty'({ store }) {
    await parkFirst(store, 'one')
    const lease = await takeLane(store)
    await store.remove([named('one')])
    const tail = await tailOf(store, lease)
    assert.equal(await append(store, appendOf('two')), 'appended')
    assert.equal(await store.free(lease, tail), 'lost')
    assert.deepEqual(await keysIn(store, lease), ['two'])
    await store.remove([named('two')])
    assert.equal(await store.free(lease, await tailOf(store, lease)), 'ok')
    assert.equal((await store.claim(asking('three'))).state, 'claimed')
  },

  async 'makes the head wait again, and counts from its first run in the lane'({ store, advance }) {
    await parkFirst(store, 'one')
    const lease = await takeLane(store)
    assert.equal((await store.load(lease, 1))?.rows[0]?.waitedMs, 0)
    const head = { scope: 'contract', key: 'one', attempts: 4, error: 'Error: still down' }
    assert.equal(await store.reschedule(lease, shortMs, head), 'ok')
    await advance(pastShortMs)
    const second = await takeLane(store)
    const row = (await store.load(second, 1))?.rows[0]
    assert.equal(row?.attempts, 4)
    assert.ok(row.waitedMs >= shortMs - 1, String(row.waitedMs))
    assert.equal(await store.reschedule(second, longMs, head), 'ok')
    assert.deepEqual(await store.claimLanes({ pipeline, limit: 9, owner: 'worker', leaseMs: longMs }), [])
  },

  async 'P-7 removes by the name of the claim: a row that was parked again at another place goes, and no other'({
    store,
  }) {
    await parkFirst(store, 'one')
    await append(store, appendOf('two'))
    const lease = await takeLane(store)
    await store.remove([named('one')])
    await store.remove([named('one')])
    assert.deepEqual(await keysIn(store, lease), ['two'])
  },

  async 'lets an empty lane be taken again after its worker died, so that no key is stuck'({ store, advance }) {
    await parkFirst(store, 'one')
    await takeLane(store, shortMs)
    await store.remove([named('one')])
    await advance(pastShortMs)
    const lease = await takeLane(store)
    assert.deepEqual(await keysIn(store, lease), [])
    assert.equal(await store.free(lease, await tailOf(store, lease)), 'ok')
  },

  async 'parks what was running when its lane was parked, behind the others'({ store }) {
    const late = await hold(store, asking('late'))
    await parkFirst(store, 'one')
    await append(store, appendOf('two'))
    assert.equal(await store.park(parkOf(late)), 'ok')
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two', 'late'])
  },
}
