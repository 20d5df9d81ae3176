import assert from 'node:assert/strict'
import { headersFrom, outboxIdHeader } from '../../core/message.ts'
import { contractOf, type ContractCase } from './contract.ts'
import {
  claimAll,
  commit,
  drain,
  ids,
  longMs,
  pastShortMs,
  plain,
  read,
  readFirst,
  shortMs,
  sum,
  type OutboxStoreHarness,
} from './outbox-store-bench.ts'

/**
 * What every outbox store must promise, as data for any test runner:
 * `for (const { name, run } of outboxStoreContract(create)) it(name, run)`.
 * `create` is called for every case; its outbox must be empty and unclaimed.
 */
export function outboxStoreContract(
  create: () => Promise<OutboxStoreHarness> | OutboxStoreHarness,
): readonly ContractCase[] {
  return contractOf(create, cases)
}

const cases: Readonly<Record<string, (harness: OutboxStoreHarness) => Promise<void>>> = {
  'gives every shard to one owner at a time, and says how many there are': async ({ store }) => {
    const { shards, share, relays, refused } = await store.attend('a', longMs)
    assert.equal(share, shards)
    assert.equal(relays, 1)
    assert.equal(refused, null)
    const leases = await claimAll(store, 'a')
    assert.deepEqual(
      leases.map(({ shard }) => shard).sort((a, b) => a - b),
      Array.from({ length: shards }, (_, shard) => shard),
    )
    assert.equal(await store.claim('b', longMs, []), null)
  },

  'shares the shards out between the relays that are there, evenly': async ({ store, advance }) => {
    const owners = ['a', 'b', 'c']
    for (const owner of owners) await store.attend(owner, longMs)
    const attendances = await Promise.all(owners.map((owner) => store.attend(owner, longMs)))
    const shares = attendances.map(({ share }) => share)
    assert.equal(sum(shares), attendances[0]?.shards)
    assert.ok(Math.max(...shares) - Math.min(...shares) <= 1)
    await store.leave('b')
    await store.attend('c', shortMs)
    await advance(pastShortMs)
    assert.equal((await store.attend('a', longMs)).relays, 1)
  },

  'reads what was committed with everything that was given, and only that': async ({ store, begin }) => {
    const body = new Uint8Array([0, 255, 128])
    const headers = headersFrom([
      ['text', 'ü'],
      ['bytes', new Uint8Array([255, 0])],
      ['__proto__', 'data'],
      ['twice', ['a', 'b']],
    ])
    await commit(begin, { id: 'm', key: 'k', body, headers })
    const open = await begin()
    await open.add({ id: 'open', key: 'k' })
    const undone = await begin()
    await undone.add({ id: 'undone', key: 'k' })
    await undone.rollback()
    const leases = await claimAll(store, 'a')
    const rows = await drain(leases)
    assert.deepEqual(ids(rows), ['m'])
    const [row] = rows
    assert.deepEqual(Buffer.from(row?.body ?? []), Buffer.from(body))
    const { [outboxIdHeader]: position, ...rest } = row?.headers ?? {}
    assert.match(String(position), /^[^/]+\/\d+\/\d+$/)
    assert.deepEqual(plain(rest), plain(headers))
    assert.equal(row?.key, 'k')
    await open.commit()
    assert.deepEqual(ids(await drain(leases)), ['open'])
  },

  'reads a message that was added earlier and committed later than one already settled': async ({ store, begin }) => {
    const slow = await begin()
    await slow.add({ id: 'slow', key: 'k' })
    await commit(begin, { id: 'fast', key: 'k' })
    const leases = await claimAll(store, 'a')
    assert.deepEqual(ids(await drain(leases)), ['fast'])
    await slow.commit()
    assert.deepEqual(ids(await drain(leases)), ['slow'])
    assert.deepEqual(ids(await drain(leases)), [])
  },

  'keeps each key in its shard and its messages in order, page by page': async ({ store, begin }) => {
    const keys = Array.from({ length: 12 }, (_, n) => `key ${n}`)
    for (let n = 0; n < 10; n++) await commit(begin, ...keys.map((key) => ({ id: `${key} ${n}`, key })))
    const leases = await claimAll(store, 'a')
    const shardOf = new Map<string, number>()
    const seen = new Map<string, string[]>()
    for (const lease of leases)
      for (const row of await drain([lease], 7)) {
        const key = row.key ?? ''
        assert.equal(shardOf.get(key) ?? lease.shard, lease.shard)
        shardOf.set(key, lease.shard)
        seen.set(key, [...(seen.get(key) ?? []), row.id])
      }
    for (const key of keys)
      assert.deepEqual(
        seen.get(key),
        Array.from({ length: 10 }, (_, n) => `${key} ${n}`),
      )
  },

  'bounds a page by rows and by bytes, and still gives a message that is larger': async ({ store, begin }) => {
    const sizes = [10, 10, 10, 500, 10, 10]
    await commit(begin, ...sizes.map((size, n) => ({ id: String(n), key: 'k', body: new Uint8Array(size) })))
    const leases = await claimAll(store, 'a')
    const pages: string[][] = []
    for (const lease of leases)
      for (;;) {
        const rows = await read(lease, 2, 100)
        if (rows.length === 0) break
        assert.ok(rows.length <= 2)
        const bytes = sum(rows.map(({ body }) => body?.byteLength ?? 0))
        assert.ok(
          bytes <= 100 || rows.length === 1 || sum(rows.slice(0, -1).map(({ body }) => body?.byteLength ?? 0)) <= 100,
        )
        pages.push(ids(rows))
        assert.equal(await lease.settle([]), 'ok')
      }
    assert.deepEqual(pages.flat(), ['0', '1', '2', '3', '4', '5'])
  },

  'reads again what was not settled, once somebody else has the shard': async ({ store, begin, advance }) => {
    await commit(begin, ...Array.from({ length: 6 }, (_, n) => ({ id: String(n), key: 'k' })))
    const first = await claimAll(store, 'first', shortMs)
    const { lease } = await readFirst(first, 2)
    assert.equal(await lease.settle([]), 'ok')
    assert.deepEqual(ids(await read(lease, 2)), ['2', '3'])
    await advance(pastShortMs)
    const second = await claimAll(store, 'second')
    const rest = ids(await drain(second))
    // What was settled may come again, since it need not be recorded at once; what was not must.
    assert.deepEqual(rest.slice(-4), ['2', '3', '4', '5'])
    assert.equal(await lease.settle([]), 'lost')
    assert.equal(await lease.renew(), 'lost')
    assert.equal(await lease.read(1, 1000), 'lost')
  },

  'keeps a lease that is renewed, and frees one that is released': async ({ store, advance }) => {
    const leases = await claimAll(store, 'a', pastShortMs * 2)
    await advance(pastShortMs)
    for (const lease of leases) assert.equal(await lease.renew(), 'ok')
    await advance(pastShortMs)
    assert.equal(await store.claim('b', longMs, []), null)
    const [lease] = leases
    await lease?.release()
    const taken = await store.claim('b', longMs, [])
    assert.equal(taken?.shard, lease?.shard)
    assert.ok((taken?.epoch ?? 0n) > (lease?.epoch ?? 0n))
  },

  'gives an owner its own shard again that it does not hold any more': async ({ store }) => {
    const leases = await claimAll(store, 'a')
    const held = leases.slice(1).map(({ shard }) => shard)
    const again = await store.claim('a', longMs, held)
    assert.equal(again?.shard, leases[0]?.shard)
    assert.equal(await leases[0]?.renew(), 'lost')
  },

  'records what was settled when a shard is released': async ({ store, begin }) => {
    await commit(begin, { id: 'm', key: 'k' })
    const leases = await claimAll(store, 'a')
    assert.deepEqual(ids(await drain(leases)), ['m'])
    for (const lease of leases) await lease.release()
    assert.deepEqual(ids(await drain(await claimAll(store, 'b'))), [])
  },

  'sets the dead aside and goes on without them': async ({ store, begin }) => {
    await commit(begin, ...['a', 'bad', 'c'].map((id) => ({ id, key: 'k' })))
    const leases = await claimAll(store, 'a')
    const {
      lease,
      rows: [, bad],
    } = await readFirst(leases, 3)
    assert.equal(await lease.settle([{ position: bad?.position ?? '', error: 'refused' }]), 'ok')
    assert.deepEqual(ids(await drain(leases)), [])
    assert.equal((await store.status()).dead, 1)
  },

  'lets delayed messages in when they are due, in the order of their time': async ({ store, begin, advance }) => {
    await commit(
      begin,
      { id: 'second', key: 'k', delayMs: 80 },
      { id: 'first', key: 'k', delayMs: 40 },
      { id: 'far', key: 'k', delayMs: longMs },
    )
    const leases = await claimAll(store, 'a')
    assert.deepEqual(ids(await drain(leases)), [])
    assert.equal((await store.status()).delayed, 3)
    await advance(pastShortMs)
    assert.equal(sum(await Promise.all(leases.map((lease) => lease.moveDue(10)))), 2)
    assert.deepEqual(ids(await drain(leases)), ['first', 'second'])
    assert.equal((await store.status()).delayed, 1)
  },

  'tells what is pending, how old it is, and who holds what': async ({ store, begin, advance }) => {
    assert.deepEqual(
      { ...(await store.status()), shards: [] },
      {
        ...{ pending: 0, oldestAgeMs: null, delayed: 0, dead: 0, shards: [] },
        pendingLimit: (await store.status()).pendingLimit,
      },
    )
    await commit(begin, { id: 'a', key: 'k' }, { id: 'b', key: 'l' })
    await advance(shortMs)
    const { pending, oldestAgeMs } = await store.status()
    assert.equal(pending, 2)
    assert.ok((oldestAgeMs ?? 0) >= shortMs / 2)
    await claimAll(store, 'a')
    assert.ok((await store.status()).shards.every(({ owner, held }) => owner === 'a' && held))
  },

  'cleans up at any time without touching what is unread': async ({ store, begin }) => {
    const open = await begin()
    await open.add({ id: 'open', key: 'k' })
    await commit(begin, { id: 'a', key: 'k' })
    await store.rotate()
    const leases = await claimAll(store, 'a')
    assert.deepEqual(ids(await drain(leases)), ['a'])
    await store.rotate()
    await open.commit()
    await store.rotate()
    assert.deepEqual(ids(await drain(leases)), ['open'])
  },
}
