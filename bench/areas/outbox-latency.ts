import { setTimeout as sleep } from 'node:timers/promises'
import { outboxRelay } from 'holdfast/outbox'
import { postgresOutbox } from 'holdfast/postgres'
import { quantile, type Row } from '../measure.ts'
import type { OutboxServer } from './outbox-server.ts'
import { row } from './outbox-rounds.ts'

const perRound = 40

/** From a commit to the call of the publisher, at about 20 transactions a second. */
export async function* latencyRows({ pool, store }: OutboxServer, rounds: number): AsyncIterable<Row> {
  const outbox = postgresOutbox()
  const arrivals = new Map<string, () => void>()
  const relay = outboxRelay({
    store,
    publisher: {
      async publish(rows) {
        for (const { id } of rows) arrivals.get(id)?.()
      },
    },
  })
  const stop = new AbortController()
  const done = relay.run(stop.signal)
  await sleep(1000)
  const client = await pool.connect()
  await client.query('create table bare (n int)')

  async function bareCommit(): Promise<number> {
    await client.query('begin')
    await client.query('insert into bare values (1)')
    const startedMs = performance.now()
    await client.query('commit')
    return performance.now() - startedMs
  }
  let count = 0
  async function published(poke: boolean): Promise<number> {
    const id = `latency ${count++}`
    const arrived = new Promise<number>((resolve) => arrivals.set(id, () => resolve(performance.now())))
    await client.query('begin')
    await outbox.add(client, { id, destination: 'orders', body: null })
    const startedMs = performance.now()
    await client.query('commit')
    const committedMs = performance.now()
    if (poke) relay.poke()
    // With the wake-up it is the commit and all that follows; by polling, what comes on top of it.
    return (await arrived) - (poke ? startedMs : committedMs)
  }

  const medians: { readonly bare: number; readonly poll: number; readonly poke: number }[] = []
  for (let round = 0; round < rounds; round++) {
    const times: { bare: number[]; poll: number[]; poke: number[] } = { bare: [], poll: [], poke: [] }
    for (let n = 0; n < perRound; n++) {
      if (n % 4 === 0) times.poll.push(await published(false))
      else if (n % 4 === 2) times.poke.push(await published(true))
      else times.bare.push(await bareCommit())
      await sleep(20 + Math.random() * 30)
    }
    const middle = (values: readonly number[]): number => quantile(values, 0.5)
    medians.push({ bare: middle(times.bare), poll: middle(times.poll), poke: middle(times.poke) })
  }
  client.release()
  stop.abort()
  await done

  const p50 = (of: 'bare' | 'poll' | 'poke'): number =>
    quantile(
      medians.map((each) => each[of]),
      0.5,
    )
  yield row({
    name: 'commit to publish at 20 a second, by polling alone, p50',
    beside: '10 ms',
    ratios: medians.map(({ poll }) => poll / 10),
    target: { cost: 1 },
    detail: `${p50('poll').toFixed(2)} ms`,
  })
  yield row({
    name: 'COMMIT to publish at 20 a second, with poke(), p50',
    beside: 'a bare COMMIT',
    ratios: medians.map(({ bare, poke }) => poke / bare),
    target: { cost: 2.5 },
    detail: `${p50('poke').toFixed(2)} ms beside ${p50('bare').toFixed(2)} ms`,
  })
}
