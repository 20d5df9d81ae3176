import type pg from 'pg'
import { headersFrom } from '../../../src/core/message.ts'
import type { OutboxLease, OutboxRow, OutboxStore } from '../../../src/outbox/store.ts'

/** The two ways in which most outboxes read: kept here to show what they do under the same load. */
export function brokenStore(store: OutboxStore, pool: pg.Pool, schema: string, name: string | undefined): OutboxStore {
  if (name !== 'naive-cursor' && name !== 'order-by-xid') return store
  return {
    ...store,
    // Everything counts as unread for the guard, so that only the reading is broken.
    rotate: () => Promise.resolve([]),
    async claim(owner, leaseMs, held) {
      const lease = await store.claim(owner, leaseMs, held)
      return lease === null ? null : cursorLease(lease, pool, schema, name)
    },
  }
}

interface Found {
  readonly id: string
  readonly txid: string
  readonly topic: string
  readonly key: string
  readonly type: string
  readonly message_id: string
  readonly payload: Buffer | null
}

function cursorLease(lease: OutboxLease, pool: pg.Pool, schema: string, name: string): OutboxLease {
  const { shard } = lease
  let last: string | null = null
  const text =
    name === 'naive-cursor'
      ? `select id::text, txid::text, topic, key, type, message_id, payload from ${schema}.outbox
         where shard = $1 and id > (select at from ${schema}.cursor where shard = $1) order by id limit $2`
      : `select id::text, txid::text, topic, key, type, message_id, payload from ${schema}.outbox
         where shard = $1 and txid > (select at from ${schema}.cursor where shard = $1)::text::xid8
           and txid < pg_snapshot_xmin(pg_current_snapshot()) order by txid, id limit $2 * 20`
  return {
    ...lease,
    async read(maxRows) {
      const { rows } = await pool.query<Found>(text, [shard, maxRows])
      const [end] = rows.slice(-1)
      last = end === undefined ? null : name === 'naive-cursor' ? end.id : end.txid
      return rows.map(rowFrom)
    },
    async settle() {
      if (last !== null) await pool.query(`update ${schema}.cursor set at = $2 where shard = $1`, [shard, last])
      return 'ok'
    },
    release: () => Promise.resolve(),
  }
}

function rowFrom({ id, topic, key, type, message_id, payload }: Found): OutboxRow {
  return {
    ...{ position: id, destination: topic, key, type, id: message_id, headers: headersFrom([]) },
    ...{ body: payload, timeMs: 0, ageMs: 0 },
  }
}
