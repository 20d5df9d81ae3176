import { pipeline, type Pipeline } from 'holdfast'
import type { Kafka } from 'kafkajs'
import { backlogRows } from '../kafka/backlog.ts'
import {
  managed,
  managedByPlatformatic,
  rawEachBatch,
  rawEachMessage,
  type Side,
  type Work,
} from '../kafka/consumers.ts'
import { nsPerMessage } from '../kafka/rate.ts'
import { deleteTopic, kafkaBrokers, kafkaClient, preloadedTopic } from '../kafka/topic.ts'
import { interleaved } from '../interleaved.ts'
import { limitRow, rowOf, type Row, type Target } from '../measure.ts'
import { stackPipeline } from './stack.ts'

const backlog = 200_000
const lanesOnly = managed('holdfast', bare)
const lanesOnKafkajs = managed('holdfast on kafkajs', bare)
const lanesOnPlatformatic = managedByPlatformatic('holdfast on @platformatic/kafka', bare)
const fullStack = managed('holdfast', stackPipeline)

interface Pair {
  readonly name: string
  readonly ours: Counted
  readonly beside: Counted
  readonly target: Target | null
  readonly handlerMs?: number
  /** Most µs a message that ours may take longer: what is near the raw client is judged by that, not by a ratio. */
  readonly mostAboveUs?: number
}

/** One side, and how many messages of the topic it consumes: both take about as long. */
interface Counted {
  readonly side: Side
  readonly messages: number
}

/** Consuming a topic of 4 partitions from its beginning, beside kafkajs alone. */
export async function* kafkaArea(rounds: number): AsyncIterable<Row> {
  const brokers = await kafkaBrokers()
  const kafka = kafkaClient(brokers)
  for (const headers of [false, true]) {
    const topic = await preloadedTopic(kafka, { messages: backlog, headers })
    for (const pair of headers ? [withHeaders()] : pairs()) yield* compared(pair, { kafka, topic, rounds })
    await deleteTopic(kafka, topic)
  }
  yield* backlogRows(brokers, rounds)
}

const noop = { ours: { side: lanesOnly, messages: backlog }, beside: { side: rawEachBatch(), messages: backlog } }

function pairs(): Pair[] {
  const slow = { name: 'handler of 5 ms, 64 in flight', handlerMs: 5, ours: { side: lanesOnly, messages: 20_000 } }
  return [
    { ...noop, name: 'handler does nothing, lanes only', target: { speed: 0.6 }, mostAboveUs: 1 },
    {
      ...noop,
      name: 'handler does nothing, full stack',
      ours: { side: fullStack, messages: backlog },
      target: null,
      mostAboveUs: 4.5,
    },
    {
      ...noop,
      name: 'handler does nothing, lanes only, on @platformatic/kafka',
      ours: { side: lanesOnPlatformatic, messages: backlog },
      beside: { side: lanesOnKafkajs, messages: backlog },
      target: { speed: 1 },
    },
    {
      ...slow,
      name: 'handler of 5 ms, 64 in flight, on @platformatic/kafka',
      ours: { side: lanesOnPlatformatic, messages: 20_000 },
      beside: { side: lanesOnKafkajs, messages: 20_000 },
      target: { speed: 1 },
    },
    { ...slow, beside: { side: rawEachMessage(1), messages: 300 }, target: { speed: 55 } },
    { ...slow, beside: { side: rawEachMessage(4), messages: 1200 }, target: { speed: 13 } },
  ]
}

/** kafkajs hands headers over as they came; lanes hand over text, and the id is one of them. */
function withHeaders(): Pair {
  return { ...noop, name: 'handler does nothing, lanes only, three headers', target: null }
}

interface Where {
  readonly kafka: Kafka
  readonly topic: string
  readonly rounds: number
}

async function* compared(
  { name, ours, beside, target, handlerMs, mostAboveUs }: Pair,
  { rounds, ...where }: Where,
): AsyncIterable<Row> {
  const rate = ({ side, messages }: Counted): Promise<number> =>
    nsPerMessage(side, { ...where, messages, ...(handlerMs === undefined ? {} : { handlerMs }) })
  const samples = await interleaved(
    rounds,
    () => rate(ours),
    () => rate(beside),
  )
  const of = { area: 'kafka', name, beside: beside.side.name }
  yield rowOf({ ...of, target }, samples)
  if (mostAboveUs === undefined) return
  const values = samples.map(({ oursNs, besideNs }) => (oursNs - besideNs) / 1000)
  yield limitRow({ ...of, name: `${name}, above it`, values, most: mostAboveUs, unit: 'µs' })
}

function bare(work: Work): Pipeline {
  return pipeline('bench.kafka').handle(work)
}
