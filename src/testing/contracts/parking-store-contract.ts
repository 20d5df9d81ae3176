import assert from 'node:assert/strict'
import { contractOf, type ContractCase } from './contract.ts'
import { ask, failure, hold, longMs, pastShortMs, shortMs } from './idempotency-store-bench.ts'
import type { AppendRequest } from '../../ordering/parking/store.ts'
import {
  append,
  appendOf,
  asking,
  keysIn,
  lane,
  parkFirst,
  parkOf,
  pipeline,
  takeLane,
  type ParkingStoreCases,
  type ParkingStoreHarness,
} from './parking-store-bench.ts'
import { rejoinCases } from './parking-rejoin-cases.ts'
import { workerCases } from './parking-worker-cases.ts'

/**
 * What every store that parks must promise, as data for any test runner:
 * `for (const { name, run } of parkingStoreContract(create)) it(name, run)`.
 * `create` is called for every case; its store must not know any key yet.
 */
export function parkingStoreContract(
  create: () => Promise<ParkingStoreHarness> | ParkingStoreHarness,
): readonly ContractCase[] {
  return contractOf(create, { ...cases, ...workerCases, ...rejoinCases })
}

const cases: ParkingStoreCases = {
  async 'K-18 refuses the claims of a lane as long as it is parked, and no others'({ store }) {
    assert.equal((await store.claim(asking('one'))).state, 'claimed')
    await parkFirst(store, 'two')
    assert.equal((await store.claim(asking('three'))).state, 'parked')
    assert.equal((await store.claim(asking('four', null, 'another'))).state, 'claimed')
    assert.equal((await store.claim(ask('five'))).state, 'claimed')
  },

  async 'gives the claim of a parked message back with its attempts'({ store }) {
    await parkFirst(store, 'one', { attempts: 3 })
    const { token } = await takeLane(store)
    const again = await hold(store, asking('one', token))
    assert.equal(again.attempts, 4)
  },

  async 'parks nothing for a claim that another has taken over'({ store, advance }) {
    const first = await hold(store, { ...asking('one'), leaseMs: shortMs })
    await advance(pastShortMs)
    await hold(store, asking('one'))
    assert.equal(await store.park(parkOf(first)), 'lost')
    assert.equal(await store.countLanes(pipeline, 10), 0)
  },

  async 'tells what is known before it says parked'({ store }) {
    const done = await hold(store, asking('done'))
    await store.complete(done, longMs)
    const dead = await hold(store, asking('dead'))
    await store.fail(dead, failure, longMs)
    const held = await hold(store, { ...asking('print'), fingerprint: 'one' })
    await store.complete(held, longMs)
    await parkFirst(store, 'head')
    assert.equal((await store.claim(asking('done'))).state, 'completed')
    assert.deepEqual(await store.claim(asking('dead')), { state: 'failed', failure })
    assert.equal((await store.claim({ ...asking('print'), fingerprint: 'two' })).state, 'conflict')
    assert.equal((await store.claim({ ...asking('dead'), generation: 7 })).state, 'parked')
  },

  async 'appends behind the others, in the order of arrival'({ store }) {
    await parkFirst(store, 'one')
    const keys = Array.from({ length: 20 }, (_, at) => `next-${at}`)
    const answers = await Promise.all(keys.map((key) => append(store, appendOf(key))))
    assert.deepEqual(new Set(answers), new Set(['appended']))
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', ...keys])
  },

  async 'parks many at once, each in its lane and those of one lane in order'({ store }) {
    const names = Array.from({ length: 30 }, (_, at) => ({ key: `key-${at}`, lane: `lane-${at % 10}` }))
    const held = await Promise.all(names.map((each) => hold(store, asking(each.key, null, each.lane))))
    const answers = await Promise.all(held.map((each, at) => store.park(parkOf(each, { lane: names[at]?.lane ?? '' }))))
    assert.deepEqual(new Set(answers), new Set(['ok']))
    const leases = await store.claimLanes({ pipeline, limit: 100, owner: 'worker', leaseMs: longMs })
    assert.equal(leases.length, 10)
    for (const lease of leases) {
      const at = Number(lease.lane.slice('lane-'.length))
      assert.deepEqual(await keysIn(store, lease), [`key-${at}`, `key-${at + 10}`, `key-${at + 20}`])
    }
  },

  async 'appends nothing to a lane that is not parked'({ store }) {
    assert.equal(await append(store, appendOf('one')), 'again')
    assert.equal((await store.claim(asking('one'))).state, 'claimed')
  },

  async 'takes a repeat for known, at once and in one batch'({ store }) {
    await parkFirst(store, 'one')
    const answers = await Promise.all([1, 2, 3].map(() => append(store, appendOf('two'))))
    assert.deepEqual(answers, ['appended', 'known', 'known'])
    assert.equal(await append(store, appendOf('one')), 'known')
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two'])
  },

  async 'P-12 leaves a repeat its earlier place, whoever else comes in the same batch'({ store }) {
    await parkFirst(store, 'one')
    await Promise.all(['two', 'three', 'two', 'four', 'three'].map((key) => append(store, appendOf(key))))
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two', 'three', 'four'])
  },

  async 'P-16 sends other content under a parked key to the claim, which says conflict'({ store }) {
    await parkFirst(store, 'one')
    assert.equal(await append(store, appendOf('two', { fingerprint: 'a' })), 'appended')
    assert.equal(await append(store, appendOf('two', { fingerprint: 'b' })), 'again')
    assert.equal(await append(store, appendOf('two', { fingerprint: 'a' })), 'known')
  },

  async 'sends what is final, and what somebody holds, to the claim'({ store }) {
    const running = await hold(store, asking('running'))
    const done = await hold(store, asking('done'))
    await store.complete(done, longMs)
    await parkFirst(store, 'one')
    assert.equal(await append(store, appendOf('done')), 'again')
    assert.equal(await append(store, appendOf('running')), 'again')
    assert.equal(await store.complete(running, longMs), 'ok')
  },

  async 'P-15 fences a lapsed claim out when its message is appended'({ store, advance }) {
    const zombie = await hold(store, { ...asking('two'), leaseMs: shortMs })
    await parkFirst(store, 'one')
    await advance(pastShortMs)
    assert.equal(await append(store, appendOf('two')), 'appended')
    assert.equal(await store.complete(zombie, longMs), 'lost')
    const { token } = await takeLane(store)
    assert.equal((await store.claim(asking('two', token))).state, 'claimed')
  },

  async 'takes no more than the lane may have, and keeps the order of those it refuses'({ store }) {
    await parkFirst(store, 'one')
    const keys = ['two', 'three', 'four', 'five']
    const answers = await Promise.all(keys.map((key) => append(store, appendOf(key, { cap: 3 }))))
    assert.deepEqual(answers, ['appended', 'appended', 'full', 'full'])
    const lease = await takeLane(store)
    await store.remove([{ scope: 'contract', key: 'one', generation: 0 }])
    assert.equal(await append(store, appendOf('four', { cap: 3 })), 'appended')
    assert.deepEqual(await keysIn(store, lease), ['two', 'three', 'four'])
  },

  async 'appends a run of one lane in its order, and many runs at once'({ store }) {
    const lanes = ['lane-a', 'lane-b', 'lane-c']
    for (const name of lanes) await parkFirst(store, `${name}-first`, {}, name)
    const run = (name: string): AppendRequest[] =>
      [1, 2, 3, 4, 5].map((at) => appendOf(`${name}-${at}`, { lane: name }))
    const answers = await Promise.all(lanes.map((name) => store.append(run(name))))
    assert.deepEqual(answers, Array(3).fill(Array(5).fill('appended')))
    for (const lease of await store.claimLanes({ pipeline, limit: 9, owner: 'worker', leaseMs: longMs }))
      assert.deepEqual(await keysIn(store, lease), [`${lease.lane}-first`, ...run(lease.lane).map(({ key }) => key)])
  },

  async 'P-23 puts nothing of a run past a message that its claim has to answer'({ store }) {
    const running = await hold(store, asking('running'))
    await parkFirst(store, 'one')
    const run = ['two', 'running', 'three', 'one'].map((key) => appendOf(key))
    assert.deepEqual(await store.append(run), ['appended', 'again', 'again', 'known'])
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two'])
    assert.equal(await store.complete(running, longMs), 'ok')
  },

  async 'answers a run that came before, and goes on behind it'({ store }) {
    await parkFirst(store, 'one')
    const run = ['two', 'three'].map((key) => appendOf(key))
    await store.append(run)
    assert.deepEqual(await store.append([...run, appendOf('four')]), ['known', 'known', 'appended'])
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two', 'three', 'four'])
  },

  async 'takes of a run what the lane has room for, and no more'({ store }) {
    await parkFirst(store, 'one')
    const run = ['two', 'three', 'four', 'five'].map((key) => appendOf(key, { cap: 3 }))
    assert.deepEqual(await store.append(run), ['appended', 'appended', 'full', 'full'])
    assert.deepEqual(await store.append(run.slice(2).map((each) => ({ ...each, lane: 'free' }))), ['again', 'again'])
    assert.deepEqual(await keysIn(store, await takeLane(store)), ['one', 'two', 'three'])
  },

  async 'keeps every byte of the message'({ store }) {
    const all = Buffer.from(Array.from({ length: 256 }, (_, at) => at))
    await parkFirst(store, 'one', { envelope: all, body: all })
    await append(store, appendOf('two', { body: null }))
    const page = await store.load(await takeLane(store), 10)
    assert.deepEqual(Buffer.from(page?.rows[0]?.envelope ?? []), all)
    assert.deepEqual(Buffer.from(page?.rows[0]?.body ?? []), all)
    assert.equal(page?.rows[1]?.body, null)
  },

  async 'P-14 blocks a lane whose head failed for good, until somebody acts'({ store }) {
    await parkFirst(store, 'dead', { afterMs: null, failure })
    await append(store, appendOf('two'))
    assert.deepEqual(await store.claimLanes({ pipeline, limit: 9, owner: 'worker', leaseMs: longMs }), [])
    // Its redelivery must reach the dead letter, which may not have been confirmed.
    assert.equal(await append(store, appendOf('dead')), 'again')
    assert.deepEqual(await store.claim(asking('dead')), { state: 'failed', failure })
    assert.equal((await store.claim(asking('two'))).state, 'parked')
    const { lanes, rows, blocked } = await store.status(pipeline)
    assert.deepEqual({ lanes, rows, blocked }, { lanes: 1, rows: 2, blocked: 1 })
  },

  async 'tells how much is parked, and for how long'({ store, advance }) {
    assert.deepEqual(await store.status(pipeline), { lanes: 0, rows: 0, blocked: 0, oldestAgeMs: null })
    await parkFirst(store, 'one')
    await append(store, appendOf('two'))
    await parkFirst(store, 'three', { afterMs: null }, 'another')
    await advance(shortMs)
    const { oldestAgeMs, ...counts } = await store.status(pipeline)
    assert.deepEqual(counts, { lanes: 2, rows: 3, blocked: 1 })
    assert.ok(oldestAgeMs !== null && oldestAgeMs >= shortMs - 1, String(oldestAgeMs))
    assert.equal(await store.countLanes(pipeline, 1), 1)
    assert.equal(await store.countLanes('others', 10), 0)
  },

  async 'P-17 keeps the lanes of two pipelines apart, even in one scope of claims'({ store }) {
    await parkFirst(store, 'one')
    assert.equal(
      (await store.claim(ask('two', { lane: { pipeline: 'other', name: lane, token: null } }))).state,
      'claimed',
    )
    assert.deepEqual(await store.claimLanes({ pipeline: 'other', limit: 9, owner: 'worker', leaseMs: longMs }), [])
  },
}
