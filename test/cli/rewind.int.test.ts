import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeWith, postgresUrl } from '../support/services.ts'
import { service } from '../stores/postgres/dead-letter-support.ts'
import { rewindConfig } from './rewind-config.ts'
import { holdfast } from './support.ts'

describeWith(['postgres'], 'holdfast rewind with a database', () => {
  let cwd = ''
  let made: Awaited<ReturnType<typeof service>>
  beforeAll(async () => {
    cwd = mkdtempSync(join(tmpdir(), 'rewind-'))
    writeFileSync(join(cwd, 'holdfast.config.mjs'), rewindConfig)
    made = await service()
  })
  afterAll(async () => {
    rmSync(cwd, { recursive: true })
    await made.dispose()
  })
  const run = (line: string) =>
    holdfast(line, {
      cwd,
      env: { HOLDFAST_POSTGRES_URL: postgresUrl(), HOLDFAST_SCHEMA: made.schema, HOLDFAST_OPERATOR: 'ana' },
    })
  const log = async () => (await made.letters.log()).map(({ by, act, detail }) => ({ by, act, detail }))

  it('writes nothing to the operator log for a dry run, and a line before it moves a group', async () => {
    expect((await run('rewind billing --from orders/0=4 --scope same --dry-run')).exit).toBe(0)
    expect(await log()).toEqual([])
    const moved = await run('rewind billing --from orders/0=4 --scope same --yes')
    expect([moved.exit, moved.err]).toEqual([0, ''])
    expect(await log()).toEqual([
      {
        by: 'ana',
        act: 'rewind',
        detail: {
          group: 'billing',
          scope: null,
          messages: 6,
          positions: { 'orders/0': { from: 4, to: 10, stood: 10 } },
        },
      },
    ])
  })

  it('says in the operator log that a group was not moved', async () => {
    const ran = await run('rewind broken --from orders/0=2 --scope again --yes')
    expect([ran.exit, ran.err]).toEqual([3, 'holdfast: the broker is away\n'])
    const [failed, begun] = await log()
    expect(failed).toMatchObject({ act: 'rewind failed', detail: { group: 'broken', because: 'the broker is away' } })
    expect(begun).toMatchObject({ act: 'rewind', detail: { group: 'broken', scope: 'again' } })
  })
})
