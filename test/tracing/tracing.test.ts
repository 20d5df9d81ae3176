import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AlwaysOffSampler } from '@opentelemetry/sdk-trace-node'
import { describe, expect, it } from 'vitest'
import {
  headersFrom,
  outgoing,
  PermanentError,
  pipeline,
  publisher,
  RetryLater,
  type Incoming,
  type Outgoing,
} from 'holdfast'
import { tracedBatch, tracedPublish, tracing, withoutTracing } from 'holdfast/tracing'
import { retry } from '../../src/retry/retry.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { linksOf, parentOf, remoteSpan, remoteTrace, traceparent, withSdk } from './support.ts'

const clock = fakeClock()
const origin = { system: 'kafka', destination: 'orders', partition: '3', position: '41', group: 'billing' }

function incoming(headers: Readonly<Record<string, string>> = { traceparent }, id = 'm-1'): Incoming {
  const body = Buffer.from('{}')
  return { message: { id, body, headers: headersFrom(Object.entries(headers)), timeMs: clock.wall() - 250 }, origin }
}

describe('tracing()', () => {
  const sdk = withSdk()

  it('opens a process span in the trace of the producer, with a link to it', async () => {
    await pipeline('billing')
      .use(tracing({ clock }))
      .handle(async () => {})
      .dispatch(incoming())

    const span = sdk.span('process orders')
    expect(span.kind).toBe(SpanKind.CONSUMER)
    expect(span.spanContext().traceId).toBe(remoteTrace)
    expect(parentOf(span)).toBe(remoteSpan)
    expect(linksOf(span)).toEqual([remoteSpan])
    expect(span.attributes).toEqual({
      'messaging.system': 'kafka',
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'orders',
      'messaging.destination.partition.id': '3',
      'messaging.consumer.group.name': 'billing',
      'messaging.message.id': 'm-1',
      'messaging.message.body.size': 2,
      'messaging.kafka.offset': 41,
      'holdfast.pipeline': 'billing',
      'holdfast.attempt': 1,
      'holdfast.dwell_ms': 250,
      'holdfast.outcome': 'handled',
    })
    expect(span.status.code).toBe(SpanStatusCode.UNSET)
  })

  it('names the exchange, the routing key, the queue and the delivery tag of a message from RabbitMQ', async () => {
    const from = {
      system: 'rabbitmq',
      destination: 'orders',
      partition: 'orders.billing.3',
      position: '7',
      group: 'billing',
      routingKey: '3',
    }
    await pipeline('billing')
      .use(tracing({ clock }))
      .handle(async () => {})
      .dispatch({ ...incoming(), origin: from })
    expect(sdk.span('process orders').attributes).toMatchObject({
      'messaging.system': 'rabbitmq',
      'messaging.destination.name': 'orders:3:orders.billing.3',
      'messaging.destination.partition.id': 'orders.billing.3',
      'messaging.rabbitmq.destination.routing_key': '3',
      'messaging.rabbitmq.message.delivery_tag': 7,
    })
  })

  it('makes its span the active one for the handler, across awaits', async () => {
    let seen: string | undefined
    const handled = pipeline('billing')
      .use(tracing())
      .handle(async () => {
        await Promise.resolve()
        seen = trace.getActiveSpan()?.spanContext().spanId
      })
    await handled.dispatch(incoming())
    expect(seen).toBe(sdk.span('process orders').spanContext().spanId)
  })

  it('starts a trace of its own where none came along', async () => {
    await pipeline('billing')
      .use(tracing())
      .handle(async () => {})
      .dispatch(incoming({}))
    const span = sdk.span('process orders')
    expect(parentOf(span)).toBeUndefined()
    expect(span.links).toEqual([])
  })

  it('stays inside the span of a caller without a transport', async () => {
    const handler = pipeline('hook')
      .use(tracing())
      .handle(async () => {})
    const message = { id: 'm', body: null, headers: headersFrom([['traceparent', traceparent]]) }
    await trace.getTracer('test').startActiveSpan('POST /hook', async (server) => {
      await handler.dispatch({ message })
      server.end()
    })
    expect(parentOf(sdk.span('process hook'))).toBe(sdk.span('POST /hook').spanContext().spanId)
    expect(linksOf(sdk.span('process hook'))).toEqual([remoteSpan])
  })

  it('shows each failed attempt as an event, and the last attempt and the waits on the span', async () => {
    let calls = 0
    const handled = pipeline('billing')
      .use(tracing({ clock }))
      .use(retry({ maxAttempts: 5, backoff: () => 20, clock }))
      .handle(async () => {
        if (++calls < 3) throw new TypeError('no connection')
      })
    const outcome = handled.dispatch(incoming())
    await clock.advance(100)
    await expect(outcome).resolves.toBe('handled')

    const span = sdk.span('process orders')
    expect(span.attributes).toMatchObject({ 'holdfast.attempt': 3, 'holdfast.retry.wait_ms': 40 })
    expect(span.status.code).toBe(SpanStatusCode.UNSET)
    expect(span.events.map(({ name, attributes }) => [name, attributes?.['holdfast.attempt']])).toEqual([
      ['attempt failed', 1],
      ['attempt failed', 2],
    ])
    expect(span.events[0]?.attributes).toEqual({
      'error.type': 'TypeError',
      'holdfast.error.message': 'no connection',
      'holdfast.attempt': 1,
      'holdfast.retry.after_ms': 20,
    })
  })

  it('keeps the events of deliveries that run side by side apart', async () => {
    const handled = pipeline('billing')
      .use(tracing())
      .use(retry({ maxAttempts: 1 }))
      .handle(async ({ message }) => {
        await new Promise((resolve) => setImmediate(resolve))
        throw new Error(message.id)
      })
    await Promise.allSettled(['a', 'b', 'c'].map((id) => handled.dispatch(incoming({ traceparent }, id))))
    expect(
      sdk
        .spans()
        .map(({ attributes, events }) => [
          attributes['messaging.message.id'],
          events.map((event) => event.attributes?.['holdfast.error.message']),
        ]),
    ).toEqual([
      ['a', ['a']],
      ['b', ['b']],
      ['c', ['c']],
    ])
  })

  it('marks a delivery that failed, and passes the very error on', async () => {
    const error = new PermanentError('no such customer')
    const handled = pipeline('billing')
      .use(tracing())
      .handle(() => Promise.reject(error))
    await expect(handled.dispatch(incoming())).rejects.toBe(error)
    const span = sdk.span('process orders')
    expect(span.attributes).toMatchObject({ 'holdfast.outcome': 'nacked', 'error.type': 'permanent' })
    expect(span.status).toEqual({ code: SpanStatusCode.ERROR, message: 'no such customer' })
  })

  it.each([
    ['a text', 'just text', 'string'],
    ['nothing', undefined, 'undefined'],
    ['an error whose message is no text', Object.assign(new Error(), { message: 42 }), 'Error'],
    [
      'an object that shows nothing',
      new Proxy(
        {},
        {
          getPrototypeOf: () => {
            throw new Error('no')
          },
        },
      ),
      'object',
    ],
  ])('bad input: passes on %s that was thrown, and marks the span', async (_, thrown: unknown, type) => {
    const handled = pipeline('billing')
      .use(tracing())
      .use(retry({ maxAttempts: 1 }))
      .handle(() => Promise.reject(thrown))
    const caught: unknown = await handled.dispatch(incoming()).then(undefined, (error: unknown) => error)
    expect(caught === thrown).toBe(true)
    expect(sdk.span('process orders').attributes['error.type']).toBe(type)
  })

  it('takes a message that has to wait for no error', async () => {
    const handled = pipeline('billing')
      .use(tracing())
      .handle(() => Promise.reject(new RetryLater(500, { holds: 'lane' })))
    await expect(handled.dispatch(incoming())).rejects.toThrow()
    const span = sdk.span('process orders')
    expect(span.attributes).toMatchObject({
      'holdfast.outcome': 'nacked',
      'holdfast.retry.after_ms': 500,
      'holdfast.retry.holds': 'lane',
    })
    expect(span.status.code).toBe(SpanStatusCode.UNSET)
  })

  it('takes a delivery that was stopped for no error', async () => {
    const stopping = new AbortController()
    const handled = pipeline('billing')
      .use(tracing())
      .use(retry())
      .handle(() => {
        stopping.abort()
        return Promise.reject(new Error('stopped half-way'))
      })
    await expect(handled.dispatch({ ...incoming(), signal: stopping.signal })).rejects.toThrow('stopped')
    expect(sdk.span('process orders').attributes['holdfast.outcome']).toBe('nacked')
    expect(sdk.span('process orders').status.code).toBe(SpanStatusCode.UNSET)
  })

  it('says what made a message wait, where something failed', async () => {
    const cause = new TypeError('down')
    const later = new RetryLater(100, { holds: 'pipeline', because: 'the store did not answer', cause })
    const handled = pipeline('billing')
      .use(tracing())
      .handle(() => Promise.reject(later))
    await expect(handled.dispatch(incoming())).rejects.toBe(later)
    expect(sdk.span('process orders').attributes['error.type']).toBe('TypeError')
    expect(sdk.span('process orders').status.code).toBe(SpanStatusCode.ERROR)
  })

  it('ends its span once where a plain middleware inside throws at once', async () => {
    const handled = pipeline('billing')
      .use(tracing())
      .use(() => () => {
        throw new Error('at once')
      })
      .handle(async () => {})
    await expect(handled.dispatch(incoming())).rejects.toThrow('at once')
    expect(sdk.span('process orders').status.code).toBe(SpanStatusCode.ERROR)
  })

  it('X: links to the trace of an untrusted sender and does not continue it', async () => {
    await pipeline('billing')
      .use(tracing({ trusted: false }))
      .handle(async () => {})
      .dispatch(incoming())
    const span = sdk.span('process orders')
    expect(span.spanContext().traceId).not.toBe(remoteTrace)
    expect(parentOf(span)).toBeUndefined()
    expect(linksOf(span)).toEqual([remoteSpan])
  })

  it.each([
    ['no baggage unless it is named', [], undefined],
    ['only the baggage that is named', ['tenant'], [['tenant', 'acme']]],
  ])('X: lets in %s', async (_, baggage, expected) => {
    let seen: unknown
    const handled = pipeline('billing')
      .use(tracing({ baggage }))
      .handle(async () => {
        seen = propagation
          .getActiveBaggage()
          ?.getAllEntries()
          .map(([name, { value }]) => [name, value])
      })
    await handled.dispatch(incoming({ traceparent, baggage: 'tenant=acme,admin=true' }))
    expect(seen).toEqual(expected)
  })

  it.each([
    ['a malformed traceparent', { traceparent: '00-xyz-1-01' }],
    ['a traceparent of zeros', { traceparent: `00-${'0'.repeat(32)}-${'0'.repeat(16)}-01` }],
    ['a traceparent of 64 KB', { traceparent: `${traceparent}-${'a'.repeat(65_536)}` }],
    ['an empty traceparent', { traceparent: '' }],
  ])('bad input: ignores %s, and the message is handled', async (_, headers) => {
    const handled = pipeline('billing')
      .use(tracing())
      .handle(async () => {})
    await expect(handled.dispatch(incoming(headers))).resolves.toBe('handled')
    expect(parentOf(sdk.span('process orders'))).toBeUndefined()
  })

  it('bad input: ignores a tracestate that is no text, and keeps the trace', async () => {
    const headers = headersFrom([
      ['traceparent', traceparent],
      ['tracestate', new Uint8Array([0xff, 0xfe])],
    ])
    const handled = pipeline('billing')
      .use(tracing())
      .handle(async () => {})
    await expect(handled.dispatch({ message: { id: 'm', body: null, headers }, origin })).resolves.toBe('handled')
    expect(parentOf(sdk.span('process orders'))).toBe(remoteSpan)
  })

  it('bad input: ignores 64 KB of baggage, and the message is handled in its trace', async () => {
    let seen: unknown = 'not run'
    const handled = pipeline('billing')
      .use(tracing({ baggage: ['tenant'] }))
      .handle(async () => {
        seen = propagation.getActiveBaggage()
      })
    const baggage = `tenant=acme,${'x'.repeat(65_536)}=1`
    await expect(handled.dispatch(incoming({ traceparent, baggage }))).resolves.toBe('handled')
    expect(seen).toBeUndefined()
    expect(parentOf(sdk.span('process orders'))).toBe(remoteSpan)
  })

  it('bad input: survives a propagator that throws, on both sides', async () => {
    const fail = (): never => {
      throw new Error('not mine')
    }
    const propagator = { inject: fail, extract: fail, fields: () => [] }
    const sent: Outgoing[] = []
    const wire = { publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) }
    await publisher(wire)
      .use(tracedPublish({ propagator }))
      .publish([outgoing({ id: 'm-1', destination: 'orders', body: null })])
    expect(sent.map(({ id }) => id)).toEqual(['m-1'])
    const handled = pipeline('billing')
      .use(tracing({ propagator }))
      .handle(async () => {})
    await expect(handled.dispatch(incoming())).resolves.toBe('handled')
    expect(sdk.spans().map(({ name }) => name)).toEqual(['send orders', 'process orders'])
  })

  it('takes the first of several traceparents', async () => {
    const headers = headersFrom([['traceparent', [traceparent, 'junk']]])
    await pipeline('billing')
      .use(tracing())
      .handle(async () => {})
      .dispatch({ message: { id: 'm', body: null, headers }, origin })
    expect(parentOf(sdk.span('process orders'))).toBe(remoteSpan)
  })

  it('refuses options that make no sense, and a second tracing() in one pipeline', () => {
    // @ts-expect-error a text is no list
    expect(() => tracing({ baggage: 'tenant' })).toThrow("tracing: baggage must be an array, got 'tenant'")
    expect(() =>
      pipeline('p')
        .use(tracing())
        .use(tracing())
        .handle(async () => {}),
    ).toThrow('two tracing stages')
  })

  it('is not silenced by the background that its consumer runs in', async () => {
    const handled = pipeline('billing')
      .use(tracing())
      .handle(async () => trace.getTracer('test').startSpan('query').end())
    await withoutTracing(async () => {
      trace.getTracer('test').startSpan('poll').end()
      await handled.dispatch(incoming())
    })
    expect(sdk.spans().map(({ name }) => name)).toEqual(['query', 'process orders'])
    expect(parentOf(sdk.span('query'))).toBe(sdk.span('process orders').spanContext().spanId)
  })

  it('gives a batch a span of its own that links to each message in it', async () => {
    const handled = pipeline('billing')
      .use(tracing())
      .handleBatch(
        { maxSize: 2, maxWaitMs: 1000 },
        tracedBatch(async () => {}),
      )
    await Promise.all(['a', 'b'].map((id) => handled.dispatch(incoming({ traceparent }, id))))
    const [batch, ...each] = sdk.spans()
    if (batch === undefined) throw new Error('no span')
    expect(batch.attributes).toMatchObject({
      'messaging.batch.message_count': 2,
      'messaging.destination.name': 'orders',
    })
    expect(parentOf(batch)).toBeUndefined()
    expect(each.map(({ attributes }) => attributes['messaging.message.id'])).toEqual(['a', 'b'])
    expect(linksOf(batch)).toEqual(each.map((span) => span.spanContext().spanId))
  })

  describe('where another instrumentation opened the process span', () => {
    const known = {
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'orders',
      'messaging.destination.partition.id': '3',
      'messaging.kafka.offset': '41',
    }
    const outer = (attributes: Record<string, string>, work: () => Promise<unknown>) =>
      trace.getTracer('other').startActiveSpan('their process', { attributes }, async (span) => {
        await work()
        span.end()
      })

    it('adopts it: one span, with our attributes', async () => {
      const handled = pipeline('billing')
        .use(tracing())
        .handle(async () => {})
      await outer(known, () => handled.dispatch(incoming()))
      expect(sdk.spans().map(({ name }) => name)).toEqual(['their process'])
      expect(sdk.span('their process').attributes).toMatchObject({
        'holdfast.outcome': 'handled',
        'messaging.message.id': 'm-1',
      })
    })

    it.each([
      ['another offset', { 'messaging.kafka.offset': '40' }],
      ['another partition', { 'messaging.destination.partition.id': '4' }],
      ['another topic', { 'messaging.destination.name': 'payments' }],
      ['another operation', { 'messaging.operation.type': 'receive' }],
      ['another pipeline of ours', { 'holdfast.pipeline': 'shipping' }],
    ])('leaves a span of %s alone', async (_, other) => {
      const handled = pipeline('billing')
        .use(tracing())
        .handle(async () => {})
      await outer({ ...known, ...other }, () => handled.dispatch(incoming()))
      expect(sdk.spans().map(({ name }) => name)).toEqual(['process orders', 'their process'])
    })
  })
})

describe('tracing() under a sampler that drops everything', () => {
  const sdk = withSdk({ sampler: new AlwaysOffSampler() })

  it('records nothing and still hands the trace on', async () => {
    const carrier: Record<string, string> = {}
    const handled = pipeline('billing')
      .use(tracing())
      .handle(async () => propagation.inject(context.active(), carrier))
    await handled.dispatch(incoming())
    expect(sdk.spans()).toEqual([])
    expect(carrier['traceparent']).toMatch(new RegExp(`^00-${remoteTrace}-[0-9a-f]{16}-00$`))
  })
})

describe('tracing() without an SDK', () => {
  it('does nothing at all', async () => {
    let active: unknown = 'not run'
    const handled = pipeline('billing')
      .use(tracing())
      .handle(async () => {
        active = trace.getActiveSpan()
      })
    await expect(handled.dispatch(incoming())).resolves.toBe('handled')
    expect(active).toBeUndefined()
  })
})
