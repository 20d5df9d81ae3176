import { context, propagation, ROOT_CONTEXT, SpanKind, trace, type TextMapGetter } from '@opentelemetry/api'
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace-node'
import { headersFrom, headerText, pipeline, type Bytes, type Delivery, type Headers } from 'holdfast'
import { metrics } from 'holdfast/metrics'
import { tracing } from 'holdfast/tracing'
import { Counter, Registry } from 'prom-client'
import { duration, quantile, type Row } from '../measure.ts'
import { deliveries } from '../messages.ts'
import { bare, type Step } from './stack.ts'

/** What it costs to be seen. */
export async function* observabilityArea(rounds: number): AsyncIterable<Row> {
  const handler = async (): Promise<void> => {}
  const traced = pipeline('bench').use(tracing()).handle(handler).step
  const measured = pipeline('bench')
    .use(metrics({ registry: new Registry() }))
    .handle(handler).step
  yield await extra('tracing, without an SDK', traced, 150, rounds)
  yield await extra('metrics', measured, 50, rounds)
  yield await extra("one inc of prom-client's bound counter", counted(), null, rounds)
  yield await withSdk(rounds)
}

/** What a step costs above a bare handler: each round takes the best of many short slices, the two in turn. */
async function extra(name: string, step: Step, mostNs: number | null, rounds: number): Promise<Row> {
  const plain = bare()
  const above: number[] = []
  for (let round = -1; round < rounds; round++) {
    const [whole, without] = await best(step, plain, 10_000)
    // The first round only warms up.
    if (round >= 0) above.push(whole - without)
  }
  const scale = mostNs ?? 1
  const median = quantile(above, 0.5)
  return {
    area: 'observability',
    name,
    ratio: median / scale,
    quartiles: [quantile(above, 0.25) / scale, quantile(above, 0.75) / scale],
    beside: 'a bare handler',
    target: mostNs === null ? '–' : `≤ ${mostNs} ns`,
    met: mostNs === null ? null : median <= mostNs,
    detail: `${duration(median)} more`,
  }
}

/** The best of many slices that are short enough for some to run undisturbed by other processes, the two in turn. */
async function best(ours: Step, beside: Step, sliceTimes: number): Promise<[number, number]> {
  let [oursNs, besideNs] = [Infinity, Infinity]
  for (let slice = 0; slice < 25; slice++) {
    besideNs = Math.min(besideNs, await nsOf(beside, sliceTimes))
    oursNs = Math.min(oursNs, await nsOf(ours, sliceTimes))
  }
  return [oursNs, besideNs]
}

async function nsOf(step: Step, times: number): Promise<number> {
  const next = deliveries()
  const startMs = performance.now()
  for (let n = 0; n < times; n++) await step(next())
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

async function withSdk(rounds: number): Promise<Row> {
  const nowhere: SpanExporter = { export: (_, done) => done({ code: 0 }), shutdown: () => Promise.resolve() }
  const spanProcessor = new BatchSpanProcessor(nowhere, { maxQueueSize: 2 ** 20, maxExportBatchSize: 8192 })
  const provider = new NodeTracerProvider({ spanProcessors: [spanProcessor] })
  provider.register()
  const ours = pipeline('bench')
    .use(tracing())
    .handle(async () => {}).step
  const ratios: number[] = []
  let detail = ''
  for (let round = -1; round < rounds; round++) {
    const [oursNs, handNs] = await best(fromProducer(ours), fromProducer(byHand()), 500)
    if (round >= 0) ratios.push(oursNs / handNs)
    detail = `${duration(oursNs)} beside ${duration(handNs)}`
  }
  await provider.shutdown()
  trace.disable()
  context.disable()
  propagation.disable()
  const ratio = quantile(ratios, 0.5)
  return {
    area: 'observability',
    name: 'tracing, with an SDK and a batch exporter',
    ratio,
    quartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    beside: 'the same spans by hand',
    target: '≤ 1.1×',
    met: ratio <= 1.1,
    detail,
  }
}

/** As from a producer that is traced. */
function fromProducer(step: Step): Step {
  const headers = headersFrom([['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']])
  return (delivery) => step({ ...delivery, message: { ...delivery.message, headers } })
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
