import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { expect, it } from 'vitest'
import { codeBlocks } from '../support/code-blocks.ts'
import { describeWith, kafkaBrokers, postgresUrl, uniqueName } from '../support/services.ts'
import { root } from './run.ts'
import { createTopics } from '../support/kafka-topics.ts'

const fromSource = pathToFileURL(join(import.meta.dirname, 'from-source.ts')).href

/** The service of the README, with the addresses and names of this test in place of its own. */
function serviceOf(names: Readonly<Record<string, string>>): string {
  const block = codeBlocks(join(root, 'README.md')).find(({ code }) => code.includes('SIGTERM'))
  if (block === undefined) throw new Error('README.md has no service that handles SIGTERM')
  let code = block.code
  for (const [from, to] of Object.entries(names)) {
    if (!code.includes(from)) throw new Error(`the service of README.md has no ${from}`)
    code = code.replaceAll(from, to)
  }
  return stripTypeScriptTypes(code)
}

describeWith(['kafka', 'postgres'], 'the service of the README', () => {
  it('handles its messages once, and ends by itself after SIGTERM', { timeout: 90_000 }, async () => {
    const name = uniqueName('readme')
    const database = name.replaceAll(/\W/g, '_')
    const kafka = new kafkajs.Kafka({ brokers: kafkaBrokers(), logLevel: kafkajs.logLevel.NOTHING })
    const admin = kafka.admin()
    const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
    const server = new pg.Client({ connectionString: postgresUrl() })
    await Promise.all([admin.connect(), producer.connect(), server.connect()])
    await createTopics(admin, [{ topic: name }, { topic: `${name}.dead-letters` }])
    await server.query(`create database ${database}`)
    const url = new URL(postgresUrl())
    const shop = new pg.Client({ connectionString: new URL(`/${database}`, url).href })
    await shop.connect()
    await shop.query('create table charges (order_id text, cents int)')
    const folder = join(root, 'node_modules/.cache', name)
    await mkdir(folder, { recursive: true })
    const file = join(folder, 'service.mjs')
    const brokers = kafkaBrokers()[0] ?? ''
    const names = {
      "'127.0.0.1:9092'": `'${brokers}'`,
      "groupId: 'billing'": `groupId: '${name}'`,
      "['orders']": `['${name}']`,
    }
    await writeFile(file, serviceOf(names))

    const service = spawn(
      process.execPath,
      ['--disable-warning=TimeoutNegativeWarning', '--import', fromSource, file],
      {
        cwd: root,
        env: { ...process.env, PGHOST: url.hostname, PGPORT: url.port, PGUSER: url.username, PGDATABASE: database },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let printed = ''
    for (const stream of [service.stdout, service.stderr])
      stream.on('data', (chunk: Buffer) => (printed += chunk.toString()))
    try {
      const order = (n: number) => ({
        key: `order-${n}`,
        value: JSON.stringify({ orderId: `order-${n}`, cents: 450 }),
        headers: { 'message-id': `order-${n}` },
      })
      await expect.poll(() => printed, { timeout: 30_000 }).toContain('billing.orders')
      // A new group starts at the end of the log: it has to be there first.
      const joined = async () => (await admin.describeGroups([name])).groups[0]?.state
      await expect.poll(joined, { timeout: 30_000, interval: 250 }).toBe('Stable')
      const charged = async () => (await shop.query('select order_id from charges order by 1')).rows.length
      const sent = [1, 2, 1].map(order)
      await expect
        .poll(
          async () => {
            await producer.send({ topic: name, messages: sent })
            return charged()
          },
          { timeout: 30_000, interval: 1_000 },
        )
        .toBe(2)
      service.kill('SIGTERM')
      const [code, signal] = (await once(service, 'exit')) as [number | null, string | null]
      expect({ code, signal }, printed).toEqual({ code: 0, signal: null })
      expect(await charged()).toBe(2)
    } finally {
      service.kill('SIGKILL')
      await shop.end()
      await server.query(`drop database ${database} with (force)`)
      await admin.deleteTopics({ topics: [name, `${name}.dead-letters`] })
      await Promise.all([admin.disconnect(), producer.disconnect(), server.end()])
      await rm(folder, { recursive: true, force: true })
    }
  })
})
