import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { featureNames, type Features } from '../../src/consumer/features.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { features } from '../../src/transports/features.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'

const names = Object.keys(featureNames) as (keyof Features)[]
const columns = [
  ['memory', features.memory],
  ['Kafka', features.kafka],
  ['RabbitMQ', features.rabbitmq],
  ['NATS JetStream', features.nats],
  ['AMQP 1.0', features.amqp],
  ['Pulsar', features.pulsar],
] as const

it('the page of what each transport can do is the table of the code', () => {
  const page = readFileSync('docs/transports/features.md', 'utf8')
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith('|') && !line.startsWith('| ---'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
  expect(rows).toEqual([
    ['', ...columns.map(([title]) => title)],
    ...names.map((name) => [featureNames[name], ...columns.map(([, each]) => each[name].how)]),
  ])
})

it('a consumer describes its pipeline and what its broker can do', () => {
  const consumer = memoryConsumer({
    broker: memoryBroker(),
    groupId: 'billing',
    topics: ['orders'],
    pipeline: pipeline('billing').handle(() => {}),
  })
  const described = consumer.describe()
  expect(described.features?.replay.has).toBe(true)
  expect(String(described)).toContain('memory billing\n')
  for (const name of names) expect(String(described)).toContain(`${featureNames[name]}  `)
  expect(String(described)).toContain(String(described.pipeline))
})

it('queues cannot be replayed', () => {
  const without = columns.filter(([, { replay }]) => !replay.has).map(([title]) => title)
  expect(without).toEqual(['RabbitMQ', 'AMQP 1.0'])
})
