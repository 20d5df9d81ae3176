import { Registry } from 'prom-client'
import { afterEach, expect, it } from 'vitest'
import { outgoing, pipeline, publisher } from 'holdfast'
import { metrics, processMetrics } from 'holdfast/metrics'
import { pulsarClient, pulsarConsumer, pulsarPublisher } from 'holdfast/pulsar'
import { tracedPublish, tracing } from 'holdfast/tracing'
import { scrape } from '../../metrics/support.ts'
import { linksOf, parentOf, withSdk } from '../../tracing/support.ts'
import { until } from '../rabbitmq/support.ts'
import { deliveryFrame, fakeBroker, type Reply } from './fake-broker.ts'

const sdk = withSdk()
const closing: { close(): unknown }[] = []
afterEach(() => {
  for (const one of closing.splice(0)) one.close()
})

/** Delivers what is sent to whoever subscribed last. */
async function echo() {
  let to: { readonly reply: Reply; readonly consumerId: number | undefined } | undefined
  const broker = await fakeBroker(({ name, value }, reply, _, rest) => {
    if (name === 'subscribe') to = { reply, consumerId: value.consumerId }
    if (name === 'send' && to !== undefined) {
      const messageId = { ledgerId: 7, entryId: value.sequenceId }
      to.reply.socket.write(deliveryFrame({ consumerId: to.consumerId, messageId }, rest))
    }
  })
  const client = pulsarClient({ serviceUrl: broker.url })
  closing.push(client, broker)
  return client
}

it('a message carries the trace of its publisher to its handler, and is counted, under the names of Pulsar', async () => {
  const client = await echo()
  const registry = new Registry()
  const stop = new AbortController()
  const orders = pipeline('orders')
    .use(tracing())
    .use(metrics({ registry }))
    .handle(() => {})
  const consumer = pulsarConsumer({ client, topics: ['orders'], subscription: 'billing', pipeline: orders })
  processMetrics({ registry, parts: { consumer } })
  const running = consumer.run(stop.signal)
  await until('it is ready', () => consumer.health().ready)
  await publisher(pulsarPublisher(client))
    .use(tracedPublish({ system: 'pulsar' }))
    .publish([outgoing({ destination: 'orders', id: 'one', key: 'k', body: Buffer.from('{}') })])
  await until('it was handled', () => sdk.spans().some(({ name }) => name === 'process orders'))
  stop.abort()
  await running

  const [send, process] = [sdk.span('send orders'), sdk.span('process orders')]
  expect(send.attributes).toMatchObject({ 'messaging.system': 'pulsar', 'messaging.destination.name': 'orders' })
  expect(parentOf(process)).toBe(send.spanContext().spanId)
  expect(linksOf(process)).toEqual([send.spanContext().spanId])
  expect(process.attributes).toMatchObject({
    'messaging.system': 'pulsar',
    'messaging.destination.name': 'orders',
    'messaging.consumer.group.name': 'billing',
    'messaging.message.id': 'one',
    'holdfast.outcome': 'handled',
  })
  expect(await scrape(registry)).toMatchObject({
    'holdfast_deliveries_total{pipeline="orders",outcome="handled"}': 1,
    'holdfast_consumer_changes_total{system="pulsar",group="billing",change="joined"}': 1,
    'holdfast_lanes{part="consumer",state="in-flight"}': 0,
  })
})
