import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { spawnChild } from '../../support/child.ts'
import { codeBlocks } from '../../support/code-blocks.ts'
import { describeWith, kafkaBrokers, postgresUrl, uniqueName } from '../../support/services.ts'
import { createTestPool } from '../../support/test-pool.ts'
import { testKafka, type TestKafka } from './support.ts'

const root = join(import.meta.dirname, '../../..')
const page = join(root, 'docs/transports/kafka.md')
/** The project's own folder, since the snippets import what it has installed. */
const folder = '.docs-check'

/** The snippet of the page that has `mark` in it, for the servers and the topic of this test. */
function snippet(mark: string, { topic, groupId }: { readonly topic: string; readonly groupId: string }): string {
  const code = codeBlocks(page).find((block) => block.code.includes(mark))?.code
  if (code === undefined) throw new Error(`no block of ${page} has ${mark}`)
  return code
    .replaceAll("'localhost:9092'", JSON.stringify(kafkaBrokers()[0]))
    .replaceAll("'orders'", `'${topic}'`)
    .replaceAll("'billing'", `'${groupId}'`)
}

describeWith(['kafka', 'postgres'], 'the services of the Kafka page', () => {
  let test: TestKafka
  let files: string
  beforeAll(async () => {
    test = await testKafka()
    mkdirSync(join(root, folder), { recursive: true })
    files = mkdtempSync(join(root, folder, 'sigterm-'))
    const { pool, dispose } = await createTestPool()
    await migrate(pool)
    await dispose()
  })
  afterAll(async () => {
    rmSync(files, { recursive: true, force: true })
    await test.dispose()
  })

  const cases: [string, string][] = [
    ['a plain form', 'consumer.run({ eachMessage'],
    ['the managed consumer', 'kafkajsConsumer({'],
  ]
  it.each(cases)('end by themselves after SIGTERM: %s', async (_, mark) => {
    const [topic, groupId] = [await test.topic(), uniqueName('group')]
    // The claims of an earlier run are still in the database.
    const id = uniqueName('order')
    const file = join(files, `${groupId}.ts`)
    writeFileSync(file, snippet(mark, { topic, groupId }))
    const service = spawnChild(file.slice(root.length + 1), {
      env: { NODE_OPTIONS: `--import ${join(root, 'test/examples/from-source.ts')}`, PGURL: postgresUrl(), ...pgEnv() },
    })
    try {
      // It may begin at the end of the topic, so it is sent until it is seen.
      const sending = setInterval(() => {
        const message = { key: 'k', value: JSON.stringify({ orderId: id }), headers: { 'message-id': id } }
        test.send(topic, [message]).catch(() => {})
      }, 250)
      await service.line(id).finally(() => clearInterval(sending))
      service.kill('SIGTERM')
      await expect(service.exited).resolves.toEqual({ code: 0, signal: null })
    } finally {
      await service.dispose()
    }
  })
})

/** The snippets leave the address to the environment, as pg does. */
function pgEnv(): Readonly<Record<string, string>> {
  const { hostname, port, username, pathname } = new URL(postgresUrl())
  return { PGHOST: hostname, PGPORT: port, PGUSER: username, PGDATABASE: pathname.slice(1) }
}
