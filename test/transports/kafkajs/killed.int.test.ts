import { afterAll, beforeAll, expect, it } from 'vitest'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { spawnChild } from '../../support/child.ts'
import { describeWith, kafkaBrokers, postgresUrl, uniqueName } from '../../support/services.ts'
import { createTestPool, type TestPool } from '../../support/test-pool.ts'
import type { FixtureSettings } from './fixtures/consumer.ts'
import { numbers, testKafka, until, type TestKafka } from './support.ts'

const fixture = 'test/transports/kafkajs/fixtures/consumer.ts'
const forms = ['eachMessage', 'managed'] as const
const points = ['before the effect', 'between effect and completion', 'after completion, before the commit'] as const

describeWith(['kafka', 'postgres'], 'consumer processes that are killed or stopped', () => {
  let test: TestKafka
  let db: TestPool
  beforeAll(async () => {
    ;[test, db] = await Promise.all([testKafka(), createTestPool()])
    await migrate(db.pool, { schema: db.schema })
    await db.pool.query(`create table ${db.schema}.effects (id text)`)
  })
  afterAll(async () => {
    await Promise.all([test.dispose(), db.dispose()])
  })

  async function setUp(form: FixtureSettings['form']) {
    const topic = await test.topic()
    await test.send(
      topic,
      numbers(2, 'k').map((each, n) => ({ ...each, headers: { 'message-id': `${topic}-${n}` } })),
    )
    const settings: FixtureSettings = {
      form,
      topic,
      groupId: uniqueName('group'),
      brokers: kafkaBrokers(),
      postgresUrl: postgresUrl(),
      schema: db.schema,
    }
    const effects = async () => {
      const { rows } = await db.pool.query<{ id: string }>(
        `select id from ${db.schema}.effects where id like $1 order by id`,
        [`${topic}-%`],
      )
      return rows.map(({ id }) => id)
    }
    const start = (more: Partial<FixtureSettings> = {}) =>
      spawnChild(fixture, { args: [JSON.stringify({ ...settings, ...more })] })
    return { topic, settings, effects, start }
  }

  it.each(forms.flatMap((form) => points.map((dies) => ({ form, dies }))))(
    'I-19: kill -9 $dies loses nothing and doubles nothing ($form)',
    async ({ form, dies }) => {
      const { topic, effects, start, settings } = await setUp(form)
      const first = start({ dies })
      expect(await first.exited).toMatchObject({ signal: 'SIGKILL' })
      const done = dies === 'after completion, before the commit' ? 1 : 0
      expect((await effects()).length).toBe(done)
      expect(await test.committed(settings.groupId, topic)).toBeLessThanOrEqual(0)
      const second = start()
      await second.line(`outcome handled ${topic}-1`)
      expect(await effects()).toEqual([`${topic}-0`, `${topic}-1`])
      expect(second.lines).toContain(`outcome ${done === 1 ? 'duplicate' : 'handled'} ${topic}-0`)
      second.kill('SIGTERM')
      expect(await second.exited).toEqual({ code: 0, signal: null })
      await until('committed', async () => (await test.committed(settings.groupId, topic)) === 2)
    },
  )

  it.each(forms)(
    'SIGTERM during a long backoff: the handler is not called again, the process ends, the message comes again (%s)',
    async (form) => {
      const { topic, effects, start, settings } = await setUp(form)
      const first = start({ fails: true })
      await first.line(`called ${topic}-0`)
      first.kill('SIGTERM')
      expect(await first.exited).toEqual({ code: 0, signal: null })
      expect(first.lines.filter((line) => line.startsWith('called'))).toEqual([`called ${topic}-0`])
      expect(await test.committed(settings.groupId, topic)).toBeLessThanOrEqual(0)
      const second = start()
      await second.line(`outcome handled ${topic}-1`)
      expect(await effects()).toEqual([`${topic}-0`, `${topic}-1`])
      await second.dispose()
    },
  )
})
