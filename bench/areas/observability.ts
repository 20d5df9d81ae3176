import { context, propagation, ROOT_CONTEXT, SpanKind, trace, type TextMapGetter } from '@opentelemetry/api'
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace-node'
import { headersFrom, headerText, pipeline, type Bytes, type Delivery, type Headers } from 'holdfast'
import { metrics } from 'holdfast/metrics'
import { tracedCreate, tracedPublish, tracing } from 'holdfast/tracing'
import { Counter, Registry } from 'prom-client'
import { duration, quantile, ratioRow, type Row } from '../measure.ts'
import { deliveries } from '../messages.ts'
import { createdByHand, oneMessage, page, sentByHand, unsent } from './observability-publish.ts'
import { bare, type Step } from './stack.ts'

/** What it costs to be seen. */
export async function* observabilityArea(rounds: number): AsyncIterable<Row> {
  const handler = async (): Promise<void> => {}
  const traced = pipeline('bench').use(tracing()).handle(handler).step
  const measured = pipeline('bench')
    .use(metrics({ registry: new Registry() }))
    .handle(handler).step
  const beside = { name: 'a bare handler', work: handling(bare()) }
  yield await extra('tracing, without an SDK', handling(traced), beside, 150, rounds)
  yield await extra('metrics', handling(measured), beside, 50, rounds)
  yield await extra('two readings of the clock', handling(timed()), beside, null, rounds)
  yield await extra("one inc of prom-client's bound counter", handling(counted()), beside, null, rounds)
  const toNobody = { name: 'a bare publisher', work: oneMessage(unsent) }
  yield await extra('tracedPublish, without an SDK', oneMessage(tracedPublish()(unsent)), toNobody, 150, rounds)
  yield await extra('tracedCreate, without an SDK', oneMessage(tracedCreate()(unsent)), toNobody, 150, rounds)
  yield* withSdk(rounds)
}

/** What is timed; each call is one message, or one page of them. */
type Work = () => Promise<unknown>

function handling(step: Step): Work {
  const next = deliveries()
  return () => step(next())
}

/** What work costs above the same without it: each round takes the best of many short slices, the two in turn. */
async function extra(
  name: string,
  work: Work,
  beside: { readonly name: string; readonly work: Work },
  mostNs: number | null,
  rounds: number,
): Promise<Row> {
  const above: number[] = []
  for (let round = -1; round < rounds; round++) {
    const [whole, without] = await best(work, beside.work, 10_000)
    // The first round only warms up.
    if (round >= 0) above.push(whole - without)
  }
  // What has no limit of its own stands beside that of metrics.
  const scale = mostNs ?? 50
  const median = quantile(above, 0.5)
  return {
    area: 'observability',
    name,
    ratio: median / scale,
    quartiles: [quantile(above, 0.25) / scale, quantile(above, 0.75) / scale],
    beside: beside.name,
    target: mostNs === null ? '–' : `≤ ${mostNs} ns`,
    met: mostNs === null ? null : median <= mostNs,
    detail: `${duration(median)} more`,
  }
}

/** The best of many slices that are short enough for some to run undisturbed by other processes, the two in turn. */
async function best(ours: Work, beside: Work, sliceTimes: number): Promise<[number, number]> {
  let [oursNs, besideNs] = [Infinity, Infinity]
  for (let slice = 0; slice < 25; slice++) {
    besideNs = Math.min(besideNs, await nsOf(beside, sliceTimes))
    oursNs = Math.min(oursNs, await nsOf(ours, sliceTimes))
  }
  return [oursNs, besideNs]
}

async function nsOf(work: Work, times: number): Promise<number> {
  const startMs = performance.now()
  for (let n = 0; n < times; n++) await work()
  return ((performance.now() - startMs) * 1e6) / times
}

function counted(): Step {
  const labelNames = ['pipeline', 'outcome']
  const counter = new Counter({ name: 'bench_total', help: 'messages', labelNames, registers: [new Registry()] })
  const child = counter.labels('bench', 'handled')
  const plain = bare()
  return (delivery) =>
    plain(delivery).then((outcome) => {
      child.inc()
      return outcome
    })
}

/** What timing every delivery costs at least. */
function timed(): Step {
  const plain = bare()
  let ms = 0
  return (delivery) => {
    const startedMs = performance.now()
    return plain(delivery).then((outcome) => {
      ms += performance.now() - startedMs
      return outcome
    })
  }
}

async function* withSdk(rounds: number): AsyncIterable<Row> {
  const nowhere: SpanExporter = { export: (_, done) => done({ code: 0 }), shutdown: () => Promise.resolve() }
  const spanProcessor = new BatchSpanProcessor(nowhere, { maxQueueSize: 2 ** 20, maxExportBatchSize: 8192 })
  const provider = new NodeTracerProvider({ spanProcessors: [spanProcessor] })
  provider.register()
  const ours = pipeline('bench')
    .use(tracing())
    .handle(async () => {}).step
  const sdk = 'with an SDK and a batch exporter'
  yield await sameSpans(`tracing, ${sdk}`, fromProducer(ours), fromProducer(byHand()), rounds)
  yield await sameSpans(`tracedCreate, ${sdk}`, oneMessage(tracedCreate()(unsent)), oneMessage(createdByHand()), rounds)
  yield await sameSpans(
    `tracedPublish, one message, ${sdk}`,
    oneMessage(tracedPublish()(unsent)),
    oneMessage(sentByHand()),
    rounds,
  )
  yield await sameSpans(
    `tracedPublish, a page of 100 from an outbox, ${sdk}`,
    page(100, tracedPublish()(unsent)),
    page(100, sentByHand()),
    rounds,
    5,
  )
  await provider.shutdown()
  trace.disable()
  context.disable()
  propagation.disable()
}

async function sameSpans(name: string, ours: Work, byHand: Work, rounds: number, sliceTimes = 500): Promise<Row> {
  const pairs: [number, number][] = []
  for (let round = -1; round < rounds; round++) {
    const pair = await best(ours, byHand, sliceTimes)
    if (round >= 0) pairs.push(pair)
  }
  const ratios = pairs.map(([oursNs, handNs]) => oursNs / handNs)
  const medianNs = (side: 0 | 1) =>
    duration(
      quantile(
        pairs.map((pair) => pair[side]),
        0.5,
      ),
    )
  return ratioRow({
    area: 'observability',
    name,
    beside: 'the same spans by hand',
    target: { cost: 1.1 },
    ratios,
    detail: `${medianNs(0)} beside ${medianNs(1)}`,
  })
}

/** As from a producer that is traced. */
function fromProducer(step: Step): Work {
  const headers = headersFrom([['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']])
  return handling((delivery) => step({ ...delivery, message: { ...delivery.message, headers } }))
}

function byHand(): Step {
  const tracer = trace.getTracer('bench')
  const plain = bare()
  const getter: TextMapGetter<Headers> = { keys: Object.keys, get: headerText }
  return async function traced(delivery: Delivery<Bytes>) {
    const { message, bytes, pipeline, origin, attempt } = delivery
    const remote = propagation.extract(ROOT_CONTEXT, message.headers, getter)
    const creation = trace.getSpanContext(remote)
    const attributes = {
      'messaging.system': origin.system,
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.destination.name': origin.destination,
      'messaging.message.id': message.id,
      'holdfast.pipeline': pipeline,
      'holdfast.attempt': attempt,
      'holdfast.dwell_ms': Date.now() - message.timeMs,
      'messaging.destination.partition.id': origin.partition ?? '',
      'messaging.message.body.size': bytes?.byteLength ?? 0,
    }
    const links = creation === undefined ? [] : [{ context: creation }]
    const span = tracer.startSpan(
      `process ${origin.destination}`,
      { kind: SpanKind.CONSUMER, attributes, links },
      remote,
    )
    try {
      const outcome = await context.with(trace.setSpan(remote, span), plain, undefined, delivery)
      span.setAttribute('holdfast.outcome', String(outcome))
      return outcome
    } finally {
      span.end()
    }
  }
}
