import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { RetryLater } from '../../../src/core/errors.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { havePgbouncer, pgbouncer } from '../../support/pgbouncer.ts'
import { privatePostgres } from '../../support/private-servers.ts'
import { describeWith, postgresUrl } from '../../support/services.ts'
import { describeUnless } from '../../support/skipped.ts'
import { realWorld, type RealWorld } from './real.ts'

const [keys, messages] = [6, 30]
// A session that ends counts as an attempt of its message.
const attempts = 50

/** Parks, appends and frees while something happens to the database: each message once, in the order of its key. */
async function survives(world: RealWorld, happens: () => Promise<void>): Promise<void> {
  const tried = new Set<string>()
  world.handler.now = ({ message }) => {
    if (tried.has(message.id) || Number(message.id.split('-')[1]) % 4 !== 0) return
    tried.add(message.id)
    throw new RetryLater(20)
  }
  const stop = new AbortController()
  const worker = parkingWorker({ store: world.store, pipelines: [world.orders], pollMs: 20, leaseMs: 3_000 })
  const working = worker.run(stop.signal)
  let sent = 0
  const consuming = Array.from({ length: keys }, async (_, key) => {
    for (let n = 0; n < messages; n++, sent++)
      for (;;)
        try {
          await world.send(`${key}-${String(n).padStart(3, '0')}`, `key-${key}`)
          break
        } catch (error) {
          await sleep(error instanceof RetryLater ? Math.min(Math.max(error.afterMs, 10), 200) : 100)
        }
  })
  while (sent < (keys * messages) / 4) await sleep(10)
  await happens()
  await Promise.all(consuming)
  while (!(await world.isFree())) await sleep(50)
  stop.abort()
  await working
  expect(await world.letters.count({})).toBe(0)
  const effects = await world.effects()
  expect(new Set(effects).size).toBe(keys * messages)
  expect(effects).toHaveLength(keys * messages)
  for (let key = 0; key < keys; key++) {
    const ofKey = effects.filter((id) => id.startsWith(`${key}-`))
    expect(ofKey).toEqual(ofKey.toSorted())
  }
}

describeWith([], 'parking over a crash of PostgreSQL', () => {
  it('loses nothing, doubles nothing, and keeps the order of each key', { timeout: 120_000 }, async () => {
    const server = await privatePostgres()
    const world = await realWorld({ parkAfterMs: 10 }, { connectionString: server.url }, attempts)
    try {
      await survives(world, async () => {
        await server.kill('SIGKILL')
        await sleep(500)
        await server.start()
      })
    } finally {
      await world.dispose()
      await server.dispose()
    }
  })
})

const missing = !havePgbouncer() && process.env['CI'] !== 'true' ? 'pgbouncer is not installed' : undefined

describeUnless(missing, 'parking behind pgbouncer', () =>
  describeWith(['postgres'], 'in transaction mode', () => {
    it('keeps its promises over a restart of the pooler', { timeout: 120_000 }, async () => {
      const bouncer = await pgbouncer(postgresUrl())
      // It takes no startup options.
      const world = await realWorld(
        { parkAfterMs: 10 },
        { connectionString: bouncer.url, options: undefined },
        attempts,
      )
      try {
        await survives(world, () => bouncer.restart())
      } finally {
        await world.dispose()
        await bouncer.dispose()
      }
    })
  }),
)
