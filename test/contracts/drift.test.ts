import { expect, it } from 'vitest'
import { contractDrift, type SeenEdge } from '../../src/contracts/index.ts'
import { headersFrom } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing, publisher, type Outgoing } from '../../src/core/publisher.ts'
import { caused, flow, flowGraph } from '../../src/flow/index.ts'
import { services } from './coffee.ts'

const seen = (from: string | null, type: string, to: string, messages = 1): SeenEdge => ({ from, type, to, messages })
const all = [seen('shop', 'order.placed', 'billing'), seen('billing', 'order.paid', 'kitchen')]

it('PR-16 has nothing to say where messages take the ways of the contracts', () => {
  expect(contractDrift(services, all)).toEqual([])
  expect(contractDrift([], [])).toEqual([])
})

it('PR-16 finds ways that no contract has, and ways that no message took', () => {
  expect(contractDrift(services, [...all, seen('shop', 'order.placed', 'kitchen', 7)])).toEqual([
    { rule: 'not-declared', from: 'shop', type: 'order.placed', to: 'kitchen', messages: 7 },
  ])
  expect(contractDrift(services, [...all, seen('legacy', 'order.placed', 'billing', 2)])).toEqual([
    { rule: 'not-declared', from: 'legacy', type: 'order.placed', to: 'billing', messages: 2 },
  ])
  expect(contractDrift(services, [seen('shop', 'other', 'billing')])).toEqual([
    { rule: 'not-declared', from: 'shop', type: 'other', to: 'billing', messages: 1 },
    { rule: 'not-seen', from: 'shop', type: 'order.placed', to: 'billing', messages: 0 },
  ])
})

it('says nothing of services that handled nothing here, and takes a message without a producer for anybody`s', () => {
  expect(contractDrift(services, [seen('shop', 'order.placed', 'billing')])).toEqual([])
  expect(contractDrift(services, [seen(null, 'order.placed', 'billing')])).toEqual([])
  expect(contractDrift(services, [...all, seen(null, 'order.paid', 'billing')])).toMatchObject([
    { rule: 'not-declared', from: null, type: 'order.paid', to: 'billing' },
  ])
})

it('counts what versions and parts of a service do as its own', () => {
  const parts = [seen('shop@v2', 'order.placed', 'billing@v3', 2), seen('shop', 'order.placed', 'billing', 3)]
  expect(contractDrift(services, parts)).toEqual([])
  const named = [seen('web.shop', 'order.placed', 'eu.billing', 2), seen('x.shop', 'x', 'y.billing', 3)]
  const serviceOf = (name: string): string => name.split('.').at(-1) ?? name
  expect(contractDrift(services, named)).toHaveLength(2)
  expect(contractDrift(services, named, { serviceOf })).toEqual([
    { rule: 'not-declared', from: 'shop', type: 'x', to: 'billing', messages: 3 },
  ])
  expect(() => contractDrift(services, [], { service: serviceOf } as never)).toThrow("unknown option 'service'")
})

it('compares what flowGraph() counted of real deliveries', async () => {
  const graph = flowGraph()
  const sent: Outgoing[] = []
  const wire = publisher({ publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) }).use(
    caused(),
  )
  const send = (type: string) =>
    wire.publish([outgoing({ destination: type, type, headers: headersFrom([]), body: null })])
  const billing = pipeline('billing')
    .use(flow())
    .handle(() => send('order.paid'))
  const kitchen = pipeline('kitchen')
    .use(flow())
    .handle(() => send('order.made'))
  await billing.dispatch({
    message: { id: 'm', type: 'order.placed', body: null, headers: headersFrom([['producer', 'shop']]) },
  })
  for (const message of sent.splice(0)) await kitchen.dispatch({ message })
  expect(contractDrift(services, graph.edges())).toEqual([])
  // The kitchen tells the billing what nobody has declared.
  for (const message of sent.splice(0)) await billing.dispatch({ message })
  expect(contractDrift(services, graph.edges())).toEqual([
    { rule: 'not-declared', from: 'kitchen', type: 'order.made', to: 'billing', messages: 1 },
  ])
  graph.stop()
})
