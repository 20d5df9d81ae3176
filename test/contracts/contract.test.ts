import { describe, expect, expectTypeOf, it } from 'vitest'
import { toStandardJsonSchema } from '@valibot/to-json-schema'
import * as v from 'valibot'
import { z } from 'zod'
import { on, route } from '../../src/codecs/route.ts'
import { contract, service, versionHeader } from '../../src/contracts/index.ts'
import { headersFrom } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { OrderPaid, OrderPlaced } from './coffee.ts'

const order = { id: 'o-2', customer: 'bob', items: [{ coffee: 'latte', cups: 1 }] }
const headers = (version?: string) => headersFrom(version === undefined ? [] : [[versionHeader, version]])
const bytes = (body: unknown) => Buffer.from(JSON.stringify(body))
const permanent = (text: string): unknown =>
  expect.objectContaining({ code: 'permanent', message: expect.stringContaining(text) as string })

describe('message()', () => {
  it('has everything that a publisher needs', () => {
    expect(OrderPlaced.message(order, { id: 'm-1', headers: headersFrom([['trace', 't']]) })).toMatchObject({
      id: 'm-1',
      type: 'order.placed',
      destination: 'order.placed',
      key: 'bob',
      headers: { trace: 't', [versionHeader]: '2' },
      body: bytes(order),
    })
  })

  it('writes what was given, and types what goes in apart from what comes out', () => {
    const Timed = contract('order.timed', {
      version: 1,
      schema: z.object({ at: z.iso.datetime().transform((text) => new Date(text)), cups: z.number().default(1) }),
      owner: 'shop',
      why: 'An order has a time, which others need.',
      key: ({ at }) => at.toISOString(),
      examples: [{ at: '2026-01-01T00:00:00Z' }],
    })
    const sent = Timed.message({ at: '2026-01-01T00:00:00Z' })
    expect(sent).toMatchObject({ key: '2026-01-01T00:00:00.000Z', body: bytes({ at: '2026-01-01T00:00:00Z' }) })
    pipeline('p')
      .decode(Timed)
      .handle(({ message }) => void expectTypeOf(message.body).toEqualTypeOf<{ at: Date; cups: number }>())
    // @ts-expect-error a Date comes out, and does not go in
    expect(() => Timed.message({ at: new Date() })).toThrow('at')
  })

  it('refuses what does not fit, by its place and without its value', () => {
    // @ts-expect-error cups are a number
    const wrong = () => OrderPlaced.message({ ...order, items: [{ coffee: 'latte', cups: 'secret' }] })
    expect(wrong).toThrow(permanent('does not fit version 2 at items.0.cups'))
    expect(wrong).not.toThrow('secret')
  })
})

describe('decode()', () => {
  it('reads its own version, and an older one through its step', async () => {
    expect(await OrderPlaced.decode(bytes(order), headers('2'))).toEqual(order)
    const old = { id: 'o-2', customer: 'bob', coffee: 'latte', cups: 1 }
    expect(await OrderPlaced.decode(bytes(old), headers('1'))).toEqual(order)
  })

  it('takes a message without a version for the oldest one', async () => {
    const old = { id: 'o-2', customer: 'bob', coffee: 'latte', cups: 1 }
    expect(await OrderPlaced.decode(bytes(old), headers())).toEqual(order)
  })

  it.each(['0', '-1', '1.5', 'two', '99999999999'])('refuses the version %s', async (version) => {
    await expect(OrderPlaced.decode(bytes(order), headers(version))).rejects.toEqual(permanent('is no version'))
  })

  it('refuses what its step makes wrongly (PR-4)', async () => {
    const Wrong = contract('order.wrong', {
      version: 2,
      schema: z.object({ cups: z.int() }),
      owner: 'shop',
      why: 'A step of this contract is wrong.',
      examples: [{ cups: 1 }],
      since: {
        1: { schema: z.object({ cups: z.string() }), example: { cups: '1' }, toNext: ({ cups }) => ({ cups }) },
      },
    })
    await expect(Wrong.decode(bytes({ cups: '1' }), headers('1'))).rejects.toEqual(
      permanent('the step from 1 to 2 made what does not fit at cups'),
    )
  })

  it.each([
    ['dead-letter', permanent('version 3 is newer than the 1')],
    ['hold', expect.objectContaining({ code: 'retry-later', holds: 'pipeline' })],
    ['try', undefined],
  ] as const)('does with a newer version as whenNewer says: %s', async (whenNewer, refused) => {
    const Event = contract('order.done', {
      version: 1,
      schema: z.object({ id: z.string() }),
      owner: 'shop',
      why: 'An order is done, and the customer needs to know.',
      examples: [{ id: 'o-1' }],
      whenNewer,
    })
    const decoding = Event.decode(bytes({ id: 'o', more: 1 }), headers('3'))
    if (refused === undefined) expect(await decoding).toEqual({ id: 'o' })
    else await expect(decoding).rejects.toEqual(refused)
  })

  it('is a decoder for route() and decode()', async () => {
    const got: unknown[] = []
    const events = pipeline('events').handle(
      route({
        [OrderPlaced.type]: on(OrderPlaced, ({ message }) => void got.push(message.body.items.length)),
        [OrderPaid.type]: on(OrderPaid, ({ message }) => void got.push(message.body.cents)),
      }),
    )
    await events.dispatch({ message: OrderPlaced.message(order) })
    await events.dispatch({ message: OrderPaid.message({ order: 'o-2', cents: 450 }) })
    expect(got).toEqual([1, 450])
  })

  it('works with any Standard Schema', async () => {
    const schema = toStandardJsonSchema(v.object({ id: v.string() }))
    const Event = contract('order.done', {
      ...{ version: 1, schema, owner: 'shop', why: 'An order is done, and others need it.' },
      examples: [{ id: 'o-1' }],
    })
    expect(await Event.decode(Event.message({ id: 'o-1' }).body, headers('1'))).toEqual({ id: 'o-1' })
    expect(Event.jsonSchema()).toMatchObject({ type: 'object', required: ['id'] })
  })
})

describe('contract()', () => {
  const least = {
    ...{ version: 1, schema: z.object({ id: z.string() }), owner: 'shop', why: 'It happened, and others need it.' },
    examples: [{ id: 'o-1' }],
  } as const
  const step = { schema: z.object({ id: z.string() }), example: { id: 'o-1' }, toNext: (body: unknown) => body }

  it.each([
    ['no owner', { ...least, owner: '' }, 'owner'],
    ['no reason', { ...least, why: undefined }, 'why'],
    ['no example', { ...least, examples: [] }, 'it needs an example'],
    ['an example that does not fit', { ...least, examples: [{ id: 'o-1' }, { id: 1 }] }, 'examples[1] does not fit'],
    [
      'an old example that does not fit',
      { ...least, version: 2, since: { 1: { ...step, example: { id: 1 } } } },
      'since[1].example',
    ],
    ['version 0', { ...least, version: 0 }, 'version'],
    ['a gap', { ...least, version: 3, since: { 1: step } }, 'version 2 is missing'],
    ['a step that is not older', { ...least, version: 2, since: { 1: step, 2: step } }, 'since[2] is not older'],
    ['a typing error', { ...least, exmaples: [] }, "Did you mean 'examples'?"],
    ['no schema', { ...least, schema: {} }, 'Standard Schema'],
  ])('refuses %s', (_, options, message) => {
    expect(() => contract('order.done', options as never)).toThrow(message)
  })

  it('does not compile with an example that does not fit, or without one', () => {
    // @ts-expect-error an id is text
    expect(() => contract('order.done', { ...least, examples: [{ id: 1 }] })).toThrow('examples[0]')
    // @ts-expect-error no example
    expect(() => contract('order.done', { ...least, examples: [] })).toThrow('example')
  })

  it('has no JSON Schema where its library cannot give one', () => {
    const Event = contract('order.dated', {
      ...least,
      schema: z.object({ at: z.date() }),
      examples: [{ at: new Date() }],
    })
    expect(Event.jsonSchema()).toBeNull()
    expect(OrderPlaced.jsonSchema(1)).toMatchObject({ required: ['id', 'customer', 'coffee', 'cups'] })
    expect(OrderPlaced.jsonSchema(7)).toBeNull()
  })
})

describe('service()', () => {
  const least = { owner: 'shop', does: 'Sells.', publishes: [OrderPlaced], consumes: [OrderPaid] }
  it.each([
    ['', least, 'name'],
    ['shop', { ...least, does: '' }, 'does'],
    ['shop', { ...least, publishes: ['order.placed'] }, 'publishes[0]'],
    ['shop', { ...least, consumes: [{ contract: {} }] }, 'consumes[0]'],
  ])('refuses wrong options of %j', (name, options, message) => {
    expect(() => service(name, options as never)).toThrow(message)
  })
})
