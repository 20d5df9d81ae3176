import { expect, it } from 'vitest'
import { deadLetter, headersFrom, outgoing, PermanentError, pipeline, publisher } from 'holdfast'
import { memoryBroker, memoryConsumer } from 'holdfast/memory'
import { tracedPublish, tracing } from 'holdfast/tracing'
import { linksOf, parentOf, withSdk } from './support.ts'

const sdk = withSdk()

it('is one trace over the memory transport, two groups and the dead letter, with the headers of the sender', async () => {
  const broker = memoryBroker()
  const sending = publisher(broker.publisher()).use(tracedPublish({ system: 'memory' }))
  const stopping = new AbortController()
  const seen = Promise.withResolvers<void>()
  const billing = pipeline('billing')
    .use(tracing())
    .use(deadLetter({ to: sending }))
    .handle(() => Promise.reject(new PermanentError('no')))
  const shipping = pipeline('shipping')
    .use(tracing())
    .handle(({ message }) => {
      if (message.headers['tenant'] === 'acme') seen.resolve()
    })
  const consumers = [billing, shipping].map((each) =>
    memoryConsumer({ broker, groupId: each.name, topics: ['orders'], pipeline: each }),
  )
  const running = consumers.map((consumer) => consumer.run(stopping.signal))
  const headers = headersFrom([['tenant', 'acme']])
  await sending.publish([outgoing({ id: 'm-1', destination: 'orders', key: 'k', body: Buffer.from('x'), headers })])
  await seen.promise
  await expect.poll(() => sdk.spans().filter(({ name }) => name === 'process orders')).toHaveLength(2)
  stopping.abort()
  await Promise.all(running)

  const sent = sdk.span('send orders').spanContext()
  const processed = sdk.spans().filter(({ name }) => name === 'process orders')
  expect(processed.map(parentOf)).toEqual([sent.spanId, sent.spanId])
  const byPipeline = new Map(processed.map((span) => [span.attributes['holdfast.pipeline'], span]))
  expect(byPipeline.get('billing')?.events.map(({ name }) => name)).toEqual(['dead-lettered'])
  expect(byPipeline.get('shipping')?.events).toEqual([])
  const dead = sdk.span('send orders.dead-letters')
  expect(parentOf(dead)).toBe(byPipeline.get('billing')?.spanContext().spanId)
  expect(linksOf(dead)).toEqual([sent.spanId])
  expect(new Set(sdk.spans().map((span) => span.spanContext().traceId))).toEqual(new Set([sent.traceId]))
})
