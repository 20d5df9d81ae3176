import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { projectDir } from '../../../scripts/services/paths.ts'
import { describeFull } from '../../support/skipped.ts'

const run = promisify(execFile)
const here = 'test/transports/platformatic-kafka'

// The consumer leans on exports that no promise covers, so the minor version is pinned. This tells when the next one breaks.
describeFull('the newest @platformatic/kafka', () => {
  let folder: string

  beforeAll(async () => {
    const cache = join(projectDir, 'node_modules/.cache')
    await mkdir(cache, { recursive: true })
    folder = await mkdtemp(join(cache, 'platformatic-kafka-'))
    await writeFile(join(folder, 'package.json'), '{ "private": true }')
    await run('npm', ['install', '--no-audit', '--no-fund', '@platformatic/kafka@latest'], { cwd: folder })
  })

  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('keeps the contracts of consumer and publisher', { timeout: 300_000 }, async () => {
    const client = join(folder, 'node_modules/@platformatic/kafka')
    const { version } = JSON.parse(await readFile(join(client, 'package.json'), 'utf8')) as { version: string }
    const vitest = join(projectDir, 'node_modules/vitest/vitest.mjs')
    const files = [`${here}/contract.int.test.ts`, `${here}/publisher-contract.int.test.ts`]
    const { stdout } = await run(process.execPath, [vitest, 'run', '--project', 'int', ...files], {
      cwd: projectDir,
      env: {
        ...process.env,
        HOLDFAST_FULL: '',
        HOLDFAST_TEST_PLATFORMATIC_KAFKA: join(client, 'dist/index.js'),
      },
      maxBuffer: 64 * 1024 * 1024,
    }).catch((error: unknown) => {
      throw new Error(`@platformatic/kafka ${version} breaks them: ${String((error as { stdout?: string }).stdout)}`)
    })
    expect(stdout).toMatch(/[1-9]\d* passed, 0 failed/)
    console.log(`@platformatic/kafka ${version}: the contracts are kept`)
  })
})
