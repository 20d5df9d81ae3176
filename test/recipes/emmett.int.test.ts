import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { installOwnPackages } from '../../scripts/own-packages.ts'
import { migrate } from '../../src/stores/postgres/index.ts'
import { codeBlocks } from '../support/code-blocks.ts'
import { postgresUrl, serviceAddress, uniqueName } from '../support/services.ts'
import { describeFull } from '../support/skipped.ts'

interface EventStore {
  appendToStream(
    stream: string,
    events: readonly { readonly type: string; readonly data: unknown }[],
    options?: { readonly expectedStreamVersion: bigint },
  ): Promise<unknown>
  close(): Promise<void>
}

const folder = join(import.meta.dirname, 'emmett')

// The code of the page itself, with the package that it needs: it is installed for this test alone.
describeFull('the recipe of Emmett', () => {
  const database = uniqueName('emmett').replaceAll(/\W/g, '_')
  const url = () => new URL(`/${database}`, postgresUrl()).href
  let admin: pg.Client
  let pool: pg.Pool
  let events: EventStore

  beforeAll(async () => {
    serviceAddress('postgres')
    installOwnPackages(folder, 'emmett: installing it for its recipe…', ['--ignore-scripts'])
    admin = new pg.Client({ connectionString: postgresUrl() })
    await admin.connect()
    await admin.query(`create database ${database}`)
    pool = new pg.Pool({ connectionString: url(), max: 2 })
    await migrate(pool)
    // The transaction of a stream that is called `fails` ends with an error, after its projection.
    await pool.query(`
      create function refuse() returns trigger language plpgsql as $$ begin raise 'refused at commit'; end $$;
      create constraint trigger refuse after insert on holdfast.outbox deferrable initially deferred
        for each row when (new.key = 'fails') execute function refuse()`)
    const [block] = codeBlocks('docs/recipes/emmett.md')
    const file = join(folder, 'dist/recipe.ts')
    mkdirSync(join(folder, 'dist'), { recursive: true })
    writeFileSync(file, block?.code ?? '')
    process.env['DATABASE_URL'] = url()
    ;({ events } = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { events: EventStore })
  }, 300_000)
  afterAll(async () => {
    await events.close()
    await pool.end()
    // Emmett's own pool ends a little later.
    await vi.waitFor(() => admin.query(`drop database ${database}`), { timeout: 10_000 })
    await admin.end()
    rmSync(join(folder, 'dist'), { recursive: true })
  })

  const rows = async (stream: string) => {
    const { rows: found } = await pool.query<{ events: number; ids: readonly string[] | null }>(
      `select (select count(*)::int from emt_messages where stream_id = $1) as events,
        (select array_agg(message_id order by id) from holdfast.outbox where key = $1) as ids`,
      [stream],
    )
    return found[0]
  }
  const placed = { type: 'order-placed', data: { cents: 450 } }

  it('an event and its message commit together', async () => {
    await events.appendToStream('one', [placed, { ...placed, type: 'order-paid' }])
    expect(await rows('one')).toEqual({ events: 2, ids: ['one/1', 'one/2'] })
  })

  it('a transaction that fails leaves neither', async () => {
    await expect(events.appendToStream('fails', [placed])).rejects.toThrow('refused at commit')
    expect(await rows('fails')).toEqual({ events: 0, ids: null })
  })

  it('of eight writers that expect the same version one gets through, with one message', async () => {
    await events.appendToStream('many', [placed])
    const all = Array.from({ length: 8 }, () =>
      events.appendToStream('many', [placed], { expectedStreamVersion: 1n }).then(
        () => true,
        () => false,
      ),
    )
    expect((await Promise.all(all)).filter((through) => through)).toHaveLength(1)
    expect(await rows('many')).toEqual({ events: 2, ids: ['many/1', 'many/2'] })
  })
})
