import assert from 'node:assert/strict'
import type { StatementRunner } from '../../core/delivery.ts'
import type { ResultStore } from '../../idempotency/remember/store.ts'
import { contractOf, type ContractCase } from './contract.ts'
import { ask, failure, hold, longMs, pastShortMs, shortMs } from './idempotency-store-bench.ts'

/** One store to be tested, empty. */
export interface ResultStoreHarness {
  readonly store: ResultStore
  /** Lets that much time pass for the store. */
  readonly advance: (ms: number) => Promise<void>
  /** Runs work in a transaction of the store's database; it rolls back if the work rejects. Missing without transactions. */
  readonly inTransaction?: (work: (tx: StatementRunner) => Promise<void>) => Promise<void>
  readonly dispose?: () => Promise<void>
}

/** What every store of results must promise, as data for any test runner. `create` is called for every case. */
export function resultStoreContract(
  create: () => Promise<ResultStoreHarness> | ResultStoreHarness,
): readonly ContractCase[] {
  return contractOf(create, cases)
}

const bytes = (text: string): Uint8Array => Buffer.from(text)
const every: Uint8Array = Uint8Array.from({ length: 256 }, (_, at) => at)

async function resultOf(store: ResultStore, key: string): Promise<string | null> {
  const found = await store.resultOf('contract', key)
  return found === null ? null : Buffer.from(found).toString()
}

const cases: Readonly<Record<string, (harness: ResultStoreHarness) => Promise<void>>> = {
  async 'gives the result of a completed key, byte for byte, and no other'({ store }) {
    const held = await hold(store, ask('a'))
    assert.equal(await store.keepResult(held, every), 'ok')
    await store.complete(held, longMs)
    assert.deepEqual(Buffer.from((await store.resultOf('contract', 'a')) ?? []), Buffer.from(every))
    assert.equal(await resultOf(store, 'b'), null)
    assert.equal(await store.resultOf('other', 'a'), null)
  },

  async 'gives no result before the key is completed, nor of one that failed'({ store }) {
    const held = await hold(store, ask('a'))
    await store.keepResult(held, bytes('one'))
    assert.equal(await resultOf(store, 'a'), null)
    await store.release(held, 1)
    assert.equal(await resultOf(store, 'a'), null)
    const again = await hold(store, ask('a'))
    await store.keepResult(again, bytes('two'))
    await store.fail(again, failure, longMs)
    assert.equal(await resultOf(store, 'a'), null)
  },

  async 'takes the last of several results of one claim, also after it was completed'({ store }) {
    const held = await hold(store, ask('a'))
    await store.keepResult(held, bytes('one'))
    await store.keepResult(held, bytes('two'))
    await store.complete(held, longMs)
    assert.equal(await resultOf(store, 'a'), 'two')
    assert.equal(await store.keepResult(held, bytes('three')), 'ok')
    assert.equal(await resultOf(store, 'a'), 'three')
    await store.keepResult(held, new Uint8Array())
    assert.equal(await resultOf(store, 'a'), '')
  },

  async 'does not show a later claim what an earlier one kept'({ store }) {
    const first = await hold(store, ask('a'))
    await store.keepResult(first, bytes('one'))
    await store.release(first, 1)
    const second = await hold(store, ask('a'))
    await store.complete(second, longMs)
    assert.equal(await resultOf(store, 'a'), null)
    assert.equal(await store.keepResult(first, bytes('late')), 'lost')
    assert.equal(await resultOf(store, 'a'), null)
  },

  async 'keeps nothing for a claim that was taken over'({ store, advance }) {
    const first = await hold(store, ask('a', { leaseMs: shortMs }))
    await advance(pastShortMs)
    const second = await hold(store, ask('a'))
    assert.equal(await store.keepResult(first, bytes('one')), 'lost')
    await store.keepResult(second, bytes('two'))
    await store.complete(second, longMs)
    assert.equal(await store.keepResult(first, bytes('one')), 'lost')
    assert.equal(await resultOf(store, 'a'), 'two')
  },

  async 'does not show a claim what the one that it took over from had kept'({ store, advance }) {
    const first = await hold(store, ask('a', { leaseMs: shortMs }))
    assert.equal(await store.keepResult(first, bytes('one')), 'ok')
    await advance(pastShortMs)
    const second = await hold(store, ask('a'))
    await store.complete(second, longMs)
    assert.equal(await resultOf(store, 'a'), null)
  },

  async 'forgets the result with its key'({ store, advance }) {
    const held = await hold(store, ask('a'))
    await store.keepResult(held, bytes('one'))
    await store.complete(held, shortMs)
    await advance(pastShortMs)
    assert.equal(await resultOf(store, 'a'), null)
    assert.equal(await store.keepResult(held, bytes('late')), 'lost')
    const again = await hold(store, ask('a'))
    await store.complete(again, longMs)
    assert.equal(await resultOf(store, 'a'), null)
  },

  async 'keeps a result in a transaction exactly if it commits'({ store, inTransaction }) {
    if (inTransaction === undefined || store.keepResultIn === undefined) return
    const keepIn = store.keepResultIn.bind(store)
    const held = await hold(store, ask('a'))
    const undone = new Error('undone')
    await assert.rejects(
      inTransaction(async (tx) => {
        assert.equal(await keepIn(tx, held, bytes('one')), 'ok')
        throw undone
      }),
      undone,
    )
    await inTransaction(async (tx) => {
      assert.equal(await keepIn(tx, { ...held, token: held.token - 1n }, bytes('foreign')), 'lost')
    })
    await store.complete(held, longMs)
    assert.equal(await resultOf(store, 'a'), null)
    await inTransaction(async (tx) => {
      assert.equal(await keepIn(tx, held, bytes('two')), 'ok')
      assert.equal(await resultOf(store, 'a'), null)
    })
    assert.equal(await resultOf(store, 'a'), 'two')
  },
}
