import type { Row } from '../measure.ts'
import { drainRows, peerRows } from './outbox-drain.ts'
import { kafkaRows } from './outbox-kafka.ts'
import { latencyRows } from './outbox-latency.ts'
import { memoryRow } from './outbox-memory.ts'
import { outboxServer } from './outbox-server.ts'
import { writerRows } from './outbox-writers.ts'

/** On a PostgreSQL of its own, with `fsync` as it comes, and real Kafka. */
export async function* outboxArea(rounds: number): AsyncIterable<Row> {
  const server = await outboxServer()
  try {
    yield* writerRows(server, rounds)
    // The slow ones in fewer rounds: a drain fills a table first.
    yield* drainRows(server, Math.ceil(rounds / 2))
    yield* peerRows(server, Math.ceil(rounds / 3))
    yield* kafkaRows(server, Math.ceil(rounds / 2))
    yield* latencyRows(server, rounds)
    yield* memoryRow(server)
  } finally {
    await server.dispose()
  }
}
