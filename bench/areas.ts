import { compare, type Comparison, type Row } from './measure.ts'
import { amqpArea } from './areas/amqp.ts'
import { executorArea } from './areas/executor.ts'
import { failureArea } from './areas/failure.ts'
import { importArea } from './areas/import.ts'
import { kafkaArea } from './areas/kafka.ts'
import { memoryArea } from './areas/memory.ts'
import { middlewareArea } from './areas/middleware.ts'
import { natsArea } from './areas/nats.ts'
import { observabilityArea } from './areas/observability.ts'
import { outboxArea } from './areas/outbox.ts'
import { postgresArea } from './areas/postgres.ts'
import { pulsarArea } from './areas/pulsar.ts'
import { rabbitmqArea } from './areas/rabbitmq.ts'
import { redisArea } from './areas/redis.ts'
import { stackArea } from './areas/stack.ts'

export interface Area {
  readonly says: string
  /** Packages whose versions belong to the figures. */
  readonly peers: readonly string[]
  /** Servers whose versions do. */
  readonly servers: readonly string[]
  run(rounds: number): AsyncIterable<Row>
}

export const areas: Readonly<Record<string, Area>> = {
  pipeline: {
    says: 'one message through the stages, in memory',
    peers: ['koa-compose', 'hono', '@middy/core', 'cockatiel', 'opossum', 'prom-client', '@opentelemetry/api'],
    servers: [],
    run: (rounds) => compared([...stackArea(), ...middlewareArea(), ...failureArea()], rounds),
  },
  executor: {
    says: 'each key in order, many keys at once, without a broker',
    peers: ['p-queue'],
    servers: [],
    run: (rounds) => compared(executorArea(), rounds),
  },
  observability: {
    says: 'what tracing and metrics cost a message',
    peers: ['@opentelemetry/api', '@opentelemetry/sdk-trace-node', 'prom-client'],
    servers: [],
    run: observabilityArea,
  },
  kafka: {
    says: 'a topic consumed from its beginning, on a real broker',
    peers: ['kafkajs', '@platformatic/kafka'],
    servers: ['kafka'],
    run: kafkaArea,
  },
  rabbitmq: {
    says: 'a queue filled and consumed to its end, on a real broker',
    peers: ['amqplib'],
    servers: ['rabbitmq'],
    run: rabbitmqArea,
  },
  nats: {
    says: 'a stream filled and consumed to its end, on a real server',
    peers: ['@nats-io/transport-node', '@nats-io/jetstream'],
    servers: ['nats'],
    run: natsArea,
  },
  amqp: {
    says: 'a queue of Artemis filled and consumed to its end, over AMQP 1.0',
    peers: ['rhea'],
    servers: ['artemis'],
    run: amqpArea,
  },
  pulsar: {
    says: 'a topic of Pulsar filled and consumed to its end, beside the bare protocol',
    peers: [],
    servers: ['pulsar'],
    run: pulsarArea,
  },
  outbox: {
    says: 'messages that leave with a transaction, on real PostgreSQL and to real Kafka',
    peers: ['pg', 'pg-transactional-outbox', 'graphile-worker', 'pg-boss', 'kafkajs'],
    servers: ['postgres', 'kafka'],
    run: outboxArea,
  },
  redis: {
    says: 'claims and completions in Redis',
    peers: ['@node-idempotency/core', '@node-idempotency/storage-adapter-redis', 'redis', 'ioredis'],
    servers: ['redis'],
    run: redisArea,
  },
  postgres: {
    says: 'claims and completions in PostgreSQL, in one transaction with the effect',
    peers: ['pg'],
    servers: ['postgres'],
    run: postgresArea,
  },
  memory: {
    says: 'what is held for a message, a key',
    peers: [],
    servers: [],
    run: memoryArea,
  },
  import: {
    says: 'what the root entry adds to a service that starts',
    peers: ['cockatiel'],
    servers: [],
    run: importArea,
  },
}

async function* compared(comparisons: readonly Comparison[], rounds: number): AsyncIterable<Row> {
  for (const comparison of comparisons) yield await compare(comparison, rounds)
}
