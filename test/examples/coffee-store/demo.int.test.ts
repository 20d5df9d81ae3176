import { expect, it } from 'vitest'
import type { Audit } from '../../../examples/coffee-store/audit.ts'
import {
  artemisUrl,
  describeWith,
  kafkaBrokers,
  natsUrl,
  postgresUrl,
  pulsarUrl,
  rabbitmqUrl,
  redisUrl,
} from '../../support/services.ts'
import { isFull } from '../../support/skipped.ts'
import { runExample } from '../run.ts'

const demo = 'examples/coffee-store/main.ts'

describeWith(['kafka', 'postgres', 'redis'], 'the coffee store on real servers', () => {
  it('passes its audit on Kafka and PostgreSQL', { timeout: 120_000 }, async () => {
    const flags = ['--kafka', kafkaBrokers().join(','), '--postgres', postgresUrl()]
    expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
  })

  it('passes its audit on Kafka and Redis', { timeout: 120_000 }, async () => {
    const flags = ['--kafka', kafkaBrokers().join(','), '--redis', redisUrl()]
    expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
  })

  it('passes its audit on Kafka through @platformatic/kafka and PostgreSQL', { timeout: 120_000 }, async () => {
    const flags = ['--platformatic-kafka', kafkaBrokers().join(','), '--postgres', postgresUrl()]
    expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
  })
})

describeWith(['rabbitmq', 'postgres'], 'the coffee store on real servers', () => {
  it('passes its audit on RabbitMQ and PostgreSQL', { timeout: 120_000 }, async () => {
    const flags = ['--rabbitmq', rabbitmqUrl(), '--postgres', postgresUrl()]
    expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
  })
})

describeWith(['nats', 'postgres'], 'the coffee store on real servers', () => {
  it('passes its audit on NATS and PostgreSQL', { timeout: 120_000 }, async () => {
    const flags = ['--nats', natsUrl(), '--postgres', postgresUrl()]
    expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
  })
})

if (isFull)
  describeWith(['artemis', 'postgres'], 'the coffee store on real servers', () => {
    it('passes its audit on Artemis and PostgreSQL', { timeout: 120_000 }, async () => {
      const flags = ['--artemis', artemisUrl(), '--postgres', postgresUrl()]
      expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
    })
  })

if (isFull)
  describeWith(['pulsar', 'postgres'], 'the coffee store on real servers', () => {
    it('passes its audit on Pulsar and PostgreSQL', { timeout: 120_000 }, async () => {
      const flags = ['--pulsar', pulsarUrl(), '--postgres', postgresUrl()]
      expectPassed(await runExample(demo, ['--json', '--messages', '150', ...flags]))
    })
  })

it('names the server that does not answer, without its password', { timeout: 60_000 }, async () => {
  const kafka = await runExample(demo, ['--kafka', '127.0.0.1:1'])
  expect(kafka.stderr).toMatch(/^coffee-store: no Kafka answers at 127\.0\.0\.1:1: start one with .* up kafka/)
  const platformatic = await runExample(demo, ['--platformatic-kafka', '127.0.0.1:1'])
  expect(platformatic.stderr).toMatch(/^coffee-store: no Kafka answers at 127\.0\.0\.1:1: start one with .* up kafka/)
  const nats = await runExample(demo, ['--nats', 'nats://127.0.0.1:1'])
  expect(nats.stderr).toMatch(/^coffee-store: no NATS answers at 127\.0\.0\.1:1: start one with .* up nats/)
  const redis = await runExample(demo, ['--redis', 'redis://:secret@127.0.0.1:1'])
  expect(redis.stderr).toMatch(
    /^coffee-store: no Redis answers at redis:\/\/127\.0\.0\.1:1: start one with .* up redis/,
  )
  const postgres = await runExample(demo, ['--postgres', 'postgres://me:secret@127.0.0.1:1/db'])
  expect(postgres.stderr).toMatch(/^coffee-store: no PostgreSQL answers at postgres:\/\/127\.0\.0\.1:1\/db: start one/)
  expect([kafka, platformatic, nats, redis, postgres].map(({ code, stdout }) => ({ code, stdout }))).toEqual(
    Array.from({ length: 5 }, () => ({ code: 1, stdout: '' })),
  )
})

function expectPassed({ code, stdout, stderr }: { code: number | null; stdout: string; stderr: string }): void {
  expect(stderr).toBe('')
  const { ok, invariants, effects } = JSON.parse(stdout) as Audit
  expect({ code, ok, broken: invariants.filter((each) => !each.ok) }).toEqual({ code: 0, ok: true, broken: [] })
  expect(effects).toMatchObject({ expected: 592, happened: 592, lost: 0, doubled: 0 })
}
