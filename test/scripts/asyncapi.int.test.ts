import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { asyncApi } from '../../src/contracts/index.ts'
import { shop } from '../contracts/coffee.ts'
import { run } from '../examples/run.ts'
import { describeFull } from '../support/skipped.ts'

// It installs 168 packages the first time.
describeFull('the official parser of AsyncAPI', () => {
  it('takes every document of this project, and refuses the wrong ones', { timeout: 300_000 }, async () => {
    const { code, stdout } = await run(['scripts/asyncapi/main.ts'])
    console.log(stdout)
    expect(stdout).toMatch(/^valid {3}examples\/coffee-store\/contracts\.ts: asyncapi\.payment\.json$/m)
    expect(stdout).toMatch(/^valid {3}test\/contracts\/shapes\.ts: asyncapi\.publishes_everything\.json$/m)
    expect(stdout).not.toMatch(/REFUSED|TAKEN/)
    expect(stdout.match(/^planted: .*: refused: /gm)).toHaveLength(4)
    expect(stdout).toMatch(/^1\d documents: 0 errors, /m)
    expect(code).toBe(0)
  })

  it('ends with 1 for a wrong document', { timeout: 300_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'asyncapi-'))
    const file = join(folder, 'wrong.json')
    await writeFile(file, JSON.stringify(asyncApi(shop, { version: '1.0.0' })).replace('"send"', '"shout"'))
    const { code, stdout } = await run(['scripts/asyncapi/main.ts', file])
    expect([code, stdout]).toEqual([1, expect.stringMatching(/^REFUSED .*\n +error .*action/)])
    await rm(folder, { recursive: true })
  })
})
