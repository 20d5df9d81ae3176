import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { outgoing, publisher, type Outgoing } from '../../src/core/publisher.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Bytes } from '../../src/core/message.ts'
import { decrypt, encrypt, type KeyProvider } from '../../src/encryption/index.ts'
import { codeBlocks } from '../support/code-blocks.ts'
import { describeWith } from '../support/services.ts'
import { createTestPool, type TestPool } from '../support/test-pool.ts'

type PersonKeys = KeyProvider & { erase(person: string): Promise<void> }

// The code of the page itself, not a copy.
describeWith(['postgres'], 'the keys of persons, as the page on encryption has them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'person-keys-'))
  const master = randomBytes(32)
  let db: TestPool
  let personKeys: (pool: pg.Pool, master: Uint8Array) => PersonKeys

  beforeAll(async () => {
    const block = codeBlocks('docs/encryption.md').find(({ code }) => code.includes('function personKeys'))
    const code = block?.code ?? ''
    db = await createTestPool()
    for (const [, sql = ''] of code.matchAll(/^\/\/ (create .*;)$/gm)) await db.pool.query(sql)
    const file = join(folder, 'person-keys.ts')
    writeFileSync(file, code)
    ;({ personKeys } = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { personKeys: typeof personKeys })
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true })
    await db.dispose()
  })
  beforeEach(() => db.pool.query('truncate person_key'))

  const rows = async () =>
    (
      await db.pool.query<{ person: string; live: boolean }>(
        'select person, sealed is not null as live from person_key',
      )
    ).rows

  it('gives one key for a person, also to 20 who ask at once, and another to others', async () => {
    const keys = personKeys(db.pool, master)
    const all = await Promise.all(Array.from({ length: 20 }, () => keys.current('ada')))
    expect(new Set(all.map(({ id }) => id)).size).toBe(1)
    expect(new Set(all.map(({ key }) => Buffer.from(key).toString('hex'))).size).toBe(1)
    expect((await keys.current('bob')).id).not.toBe(all[0]?.id)
    expect(await rows()).toHaveLength(2)
    expect(await keys.byId(all[0]?.id ?? '')).toEqual(all[0]?.key)
    expect(await keys.byId('never')).toBe('unknown')
    // The table alone opens nothing.
    await expect(personKeys(db.pool, randomBytes(32)).byId(all[0]?.id ?? '')).rejects.toThrow()
  })

  it('erases a person: what was sent is a tombstone everywhere, and new messages have a new key', async () => {
    const keys = personKeys(db.pool, master)
    const sent: Outgoing[] = []
    const wire = { publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) }
    const out = publisher(wire).use(encrypt({ keys, keyCacheMs: 0 }))
    const seen: Bytes[] = []
    const read = pipeline('read')
      .use(decrypt({ keys, keyCacheMs: 0 }))
      .handle(({ message }) => void seen.push(message.body))
    const send = async (id: string, key: string) =>
      out.publish([outgoing({ id, destination: 'orders', key, body: Buffer.from(`about ${key}`) })])
    await send('1', 'ada')
    await send('2', 'bob')
    await keys.erase('ada')
    await send('3', 'ada')
    for (const message of sent) await read.dispatch({ message })
    expect(seen.map((body) => (body === null ? null : Buffer.from(body).toString()))).toEqual([
      null,
      'about bob',
      'about ada',
    ])
    expect((await rows()).filter(({ person }) => person === 'ada').map(({ live }) => live)).toEqual([false, true])
  })
})
