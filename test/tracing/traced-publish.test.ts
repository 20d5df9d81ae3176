import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { describe, expect, it } from 'vitest'
import { headersFrom, headerText, outgoing, publisher, PublishError, type Outgoing } from 'holdfast'
import { tracedCreate, tracedPublish, withoutTracing } from 'holdfast/tracing'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { linksOf, parentOf, remoteSpan, remoteTrace, traceparent, withSdk } from './support.ts'

const clock = fakeClock()

/** A publisher that keeps what reached it, and whether instrumentation was to be silent meanwhile. */
function wire() {
  const sent: Outgoing[] = []
  return {
    sent,
    traceparents: () => sent.map(({ headers }) => headerText(headers, 'traceparent')),
    publish: (messages: readonly Outgoing[]): Promise<void> => {
      sent.push(...messages)
      trace.getTracer('client').startSpan('client call').end()
      return Promise.resolve()
    },
  }
}

const message = (id: string, headers: Readonly<Record<string, string>> = {}): Outgoing =>
  outgoing({
    id,
    destination: 'orders',
    body: null,
    headers: headersFrom(Object.entries(headers)),
    timeMs: clock.wall(),
  })

const within = async (name: string, work: () => Promise<unknown>): Promise<void> =>
  trace.getTracer('test').startActiveSpan(name, async (span) => {
    await work()
    span.end()
  })

describe('tracedPublish()', () => {
  const sdk = withSdk()
  const idOf = (name: string) => sdk.span(name).spanContext().spanId

  it('sends one message in a send span whose context travels', async () => {
    const target = wire()
    await within('POST /orders', () =>
      publisher(target)
        .use(tracedPublish())
        .publish([message('m-1')]),
    )
    const span = sdk.span('send orders')
    expect(span.kind).toBe(SpanKind.PRODUCER)
    expect(parentOf(span)).toBe(idOf('POST /orders'))
    expect(span.links).toEqual([])
    expect(span.attributes).toEqual({
      'messaging.system': 'kafka',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.destination.name': 'orders',
      'messaging.message.id': 'm-1',
    })
    const { traceId, spanId } = span.spanContext()
    expect(target.traceparents()).toEqual([`00-${traceId}-${spanId}-01`])
  })

  it('gives each message of a batch a create span of its own, and links the send span to them', async () => {
    const target = wire()
    await within('job', () =>
      publisher(target)
        .use(tracedPublish())
        .publish([message('a'), message('b')]),
    )
    const creates = sdk.spans().filter(({ name }) => name === 'create orders')
    const send = sdk.span('send orders')
    expect(creates.map((span) => [span.kind, parentOf(span), span.attributes['messaging.message.id']])).toEqual([
      [SpanKind.PRODUCER, idOf('job'), 'a'],
      [SpanKind.PRODUCER, idOf('job'), 'b'],
    ])
    expect(send.kind).toBe(SpanKind.CLIENT)
    expect(send.attributes['messaging.batch.message_count']).toBe(2)
    expect(linksOf(send)).toEqual(creates.map((span) => span.spanContext().spanId))
    expect(target.traceparents().map((text) => text?.split('-')[2])).toEqual(linksOf(send))
  })

  it('K-19, O-20: keeps a stored context byte for byte, and links to it', async () => {
    const target = wire()
    const headers = { traceparent, tracestate: 'vendor=1', baggage: 'tenant=acme', other: 'x' }
    await withoutTracing(async () => {
      await clock.advance(1500)
      const stored = { ...message('m-1', headers), timeMs: clock.wall() - 1500 }
      await publisher(target).use(tracedPublish({ clock })).publish([stored])
    })
    const span = sdk.span('send orders')
    expect(span.kind).toBe(SpanKind.CLIENT)
    expect(span.spanContext().traceId).toBe(remoteTrace)
    expect(parentOf(span)).toBe(remoteSpan)
    expect(linksOf(span)).toEqual([remoteSpan])
    expect(span.attributes['holdfast.dwell_ms']).toBe(1500)
    expect({ ...target.sent[0]?.headers }).toEqual(headers)
  })

  it('sends stored messages of several traces in a trace of its own, with a link to each', async () => {
    const target = wire()
    const other = traceparent.replace(remoteTrace, 'a'.repeat(32))
    await publisher(target)
      .use(tracedPublish({ clock }))
      .publish([message('a', { traceparent }), message('b', { traceparent: other })])
    const span = sdk.span('send orders')
    expect(parentOf(span)).toBeUndefined()
    expect(
      span.links.map(({ context, attributes }) => [context.traceId, attributes?.['messaging.message.id']]),
    ).toEqual([
      [remoteTrace, 'a'],
      ['a'.repeat(32), 'b'],
    ])
  })

  it('stays in the trace of the caller when it forwards a stored context', async () => {
    const target = wire()
    await within('handler', () =>
      publisher(target)
        .use(tracedPublish())
        .publish([message('m', { traceparent })]),
    )
    expect(parentOf(sdk.span('send orders'))).toBe(idOf('handler'))
    expect(linksOf(sdk.span('send orders'))).toEqual([remoteSpan])
    expect(target.traceparents()).toEqual([traceparent])
  })

  it('K-19: silences the instrumentation of the client', async () => {
    await publisher(wire())
      .use(tracedPublish())
      .publish([message('m')])
    expect(sdk.spans().map(({ name }) => name)).toEqual(['send orders'])
  })

  it('bad input: replaces a malformed traceparent by a good one', async () => {
    const target = wire()
    await publisher(target)
      .use(tracedPublish())
      .publish([message('m', { traceparent: 'nonsense' })])
    expect(target.traceparents()[0]).toContain(sdk.span('send orders').spanContext().spanId)
  })

  it('names no destination where there are several', async () => {
    await publisher(wire())
      .use(tracedPublish())
      .publish([message('a'), { ...message('b'), destination: 'payments' }])
    expect(sdk.span('send').attributes).not.toHaveProperty('messaging.destination.name')
    expect(sdk.span('create payments').attributes['messaging.destination.name']).toBe('payments')
  })

  it('marks what was not published, and passes the very error on', async () => {
    const error = new PublishError('1 of 1 not published', [{ index: 0, error: null, permanent: true }])
    const failing = publisher({ publish: () => Promise.reject(error) }).use(tracedPublish())
    await expect(failing.publish([message('m')])).rejects.toBe(error)
    expect(sdk.span('send orders').status.code).toBe(SpanStatusCode.ERROR)
    expect(sdk.span('send orders').attributes['error.type']).toBe('publish-failed')
  })

  it('X: sends only the baggage that is named', async () => {
    const target = wire()
    const baggage = propagation.createBaggage({ tenant: { value: 'acme' }, secret: { value: '1' } })
    const carrying = propagation.setBaggage(context.active(), baggage)
    await context.with(carrying, () =>
      publisher(target)
        .use(tracedPublish())
        .publish([message('m')]),
    )
    await context.with(carrying, () =>
      publisher(target)
        .use(tracedPublish({ baggage: ['tenant'] }))
        .publish([message('m')]),
    )
    expect(target.sent.map(({ headers }) => headerText(headers, 'baggage'))).toEqual([undefined, 'tenant=acme'])
  })

  it('publishes nothing as nothing', async () => {
    await publisher(wire()).use(tracedPublish()).publish([])
    expect(sdk.spans().map(({ name }) => name)).toEqual(['client call'])
  })
})

describe('tracedCreate()', () => {
  const sdk = withSdk()

  it('stores the context of a create span with each message', async () => {
    const target = wire()
    await within('POST /orders', () =>
      publisher(target)
        .use(tracedCreate())
        .publish([message('a'), message('b')]),
    )
    const creates = sdk.spans().filter(({ name }) => name === 'create orders')
    const server = sdk.span('POST /orders').spanContext()
    expect(creates.map((span) => [span.kind, parentOf(span)])).toEqual([
      [SpanKind.PRODUCER, server.spanId],
      [SpanKind.PRODUCER, server.spanId],
    ])
    expect(target.traceparents()).toEqual(creates.map((span) => `00-${server.traceId}-${span.spanContext().spanId}-01`))
  })

  it('leaves the instrumentation of the database on', async () => {
    await publisher(wire())
      .use(tracedCreate())
      .publish([message('a')])
    expect(parentOf(sdk.span('client call'))).toBe(sdk.span('create orders').spanContext().spanId)
  })
})

describe('publishing without an SDK', () => {
  it.each([
    ['tracedPublish', tracedPublish()],
    ['tracedCreate', tracedCreate()],
  ])('%s() passes on the very messages', async (_, middleware) => {
    const target = wire()
    const messages = [message('a'), message('b', { traceparent })]
    await publisher(target).use(middleware).publish(messages)
    expect(target.sent[0]).toBe(messages[0])
    expect(target.sent[1]).toBe(messages[1])
  })
})
