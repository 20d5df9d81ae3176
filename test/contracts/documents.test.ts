import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  asyncApi,
  checkContracts,
  contract,
  contractGraph,
  lintContracts,
  lockContracts,
  service,
  type ContractLock,
} from '../../src/contracts/index.ts'
import { OrderPaid, OrderPlaced, services, shop } from './coffee.ts'
import { services as shapes, Shipped } from './shapes.ts'

const require = createRequire(import.meta.url)
const specification = JSON.parse(
  readFileSync(require.resolve('@asyncapi/specs/schemas/3.0.0-without-$id.json'), 'utf8'),
) as Record<string, unknown>
const validate = new Ajv({ strict: false, validateFormats: false }).compile(specification)

const made = (type: string, parts: Record<string, unknown> = {}) =>
  contract(type, {
    version: 1,
    schema: z.object({ id: z.string() }) as never,
    owner: 'shop',
    why: 'It happened, and others need it.',
    examples: [{ id: 'o-1' }] as never,
    ...parts,
  })
const one = (name: string, publishes: readonly unknown[], consumes: readonly unknown[]) =>
  service(name, { owner: name, does: 'Something.', publishes: publishes as never, consumes: consumes as never })

/** What the references of a document lead to: `undefined` where there is nothing. */
function referredTo(document: unknown): readonly unknown[] {
  const found: unknown[] = []
  JSON.parse(JSON.stringify(document), (key, value: unknown) => {
    if (key !== '$ref') return value
    const path = String(value).split('/').slice(1)
    found.push(path.reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], document))
    return value
  })
  return found
}

describe('asyncApi()', () => {
  it.each([...services, ...shapes])('is a valid AsyncAPI 3.0 document of $name', (each) => {
    const document = JSON.parse(JSON.stringify(asyncApi(each, { version: '1.0.0' }))) as unknown
    expect(validate(document) ? [] : validate.errors).toEqual([])
  })

  it('is refused with a wrong action: the check can fail', () => {
    const document = JSON.stringify(asyncApi(shop, { version: '1.0.0' })).replace('"send"', '"shout"')
    expect(validate(JSON.parse(document))).toBe(false)
  })

  it.each([...services, ...shapes])('has no reference that leads nowhere, in the document of $name', (each) => {
    const document = asyncApi(each, { version: '1.0.0' })
    expect(referredTo(document).length).toBeGreaterThan(0)
    expect(referredTo(document)).not.toContain(undefined)
  })

  it('leads the references of a schema to its own parts, not to those of the document', () => {
    const [everything] = shapes
    const document = asyncApi(everything ?? shop, { version: '1.0.0' })
    expect(Shipped.jsonSchema()).toMatchObject({ properties: { to: { $ref: '#/$defs/Address' } } })
    const at = '#/components/messages/order_shipped/payload/$defs/Address'
    expect(document).toMatchObject({
      components: { messages: { order_shipped: { payload: { properties: { to: { $ref: at } } } } } },
    })
    expect(referredTo(document)).toContainEqual(
      expect.objectContaining({ properties: { street: { type: 'string' }, city: { type: 'string' } } }),
    )
  })

  it('keeps types and destinations apart whose names look alike', () => {
    const two = one('s', [made('order.placed'), made('order placed')], [])
    const { components, channels } = asyncApi(two, { version: '1' }) as Record<string, Record<string, object>>
    expect(Object.keys(components?.['messages'] ?? {})).toHaveLength(2)
    expect(Object.keys(channels ?? {})).toHaveLength(2)
  })

  it('says what was written', () => {
    expect(asyncApi(shop, { version: '1.0.0' })).toMatchObject({
      info: { title: 'shop', 'x-owner': 'shop' },
      operations: { send_order_placed: { action: 'send', channel: { $ref: '#/channels/order_placed' } } },
      components: { messages: { order_placed: { 'x-version': 2, 'x-older-versions': [1] } } },
    })
  })
})

describe('lintContracts()', () => {
  const rules = (...all: Parameters<typeof lintContracts>) => lintContracts(...all).map(({ rule }) => rule)

  it('has nothing to say of a good shop', () => {
    expect(lintContracts(services)).toEqual([])
  })

  const loose = z.object({
    a: z.string().optional(),
    b: z.string().optional(),
    c: z.string().optional(),
    d: z.string(),
  })
  it.each([
    ['generic-name', made('order.updated')],
    ['no-reason', made('order.placed', { why: 'order placed' })],
    [
      'flag',
      made('order.placed', { schema: z.object({ isCancelled: z.boolean() }), examples: [{ isCancelled: true }] }),
    ],
    ['loose', made('order.placed', { schema: loose, examples: [{ d: 'd' }] })],
    ['no-schema', made('order.placed', { schema: z.object({ at: z.date() }), examples: [{ at: new Date() }] })],
    ['overdue', made('order.placed', { deprecated: { since: '2020-01-01', until: '2020-02-01' } })],
  ])('finds %s', (rule, planted) => {
    expect(rules([one('a', [planted], []), one('b', [], [planted])])).toEqual([rule])
  })

  it('finds what is wrong between services', () => {
    const event = made('order.placed')
    expect(rules([one('a', [], [event])])).toEqual(['no-publisher'])
    expect(rules([one('a', [event], [])])).toEqual(['no-consumer'])
    expect(rules([one('a', [event], []), one('b', [event], []), one('c', [], [event])])).toEqual(['shared'])
    expect(rules([one('a', [event], []), one('b', [], [{ contract: event, needsOrder: true }])])).toEqual(['order'])
    expect(rules([one('a', [event], []), one('b', [], [{ contract: event, sideEffects: 'charges' }])])).toEqual([
      'side-effects',
    ])
    const back = made('order.answered')
    expect(rules([one('a', [event], [back]), one('b', [back], [event])])).toEqual(['cycle'])
    expect(lintContracts([one('a', [event], [event])])).toMatchObject([{ rule: 'cycle', level: 'error' }])
  })

  it('is silent where the contract gives a reason', () => {
    const event = made('order.placed', { accepts: { 'no-consumer': 'the data warehouse reads it' } })
    expect(rules([one('a', [event], [])])).toEqual([])
  })
})

describe('checkContracts()', () => {
  const contracts = [OrderPlaced, OrderPaid]
  const lock = JSON.parse(JSON.stringify(lockContracts(contracts))) as ContractLock
  const rules = async (...all: Parameters<typeof checkContracts>) =>
    (await checkContracts(...all)).map(({ rule }) => rule)
  const placed = (schema: z.ZodType, version = 2, since = {}) =>
    made('order.placed', { version, schema, since, examples: [order] })
  const order = { id: 'o-1', customer: 'ada', items: [{ coffee: 'espresso', cups: 2 }] }
  const item = z.object({ coffee: z.string(), cups: z.int() })
  const shape = { id: z.string(), customer: z.string(), items: z.array(item) }

  it('finds nothing where nothing changed', async () => {
    expect(await checkContracts(contracts, lock)).toEqual([])
  })

  it('takes an optional property, and refuses what one side cannot read', async () => {
    const only = { 'order.placed': lock['order.placed'] } as ContractLock
    expect(await rules([placed(z.object({ ...shape, note: z.string().optional() }))], only)).toEqual([])
    const { customer: _, ...fewer } = shape
    expect(await rules([placed(z.object(fewer))], only)).toEqual(['forward'])
    const longer = z.object({ ...shape, customer: z.string().min(5) })
    const found = await rules(
      [made('order.placed', { version: 2, schema: longer, examples: [{ ...order, customer: 'grace' }] })],
      only,
    )
    expect(found).toEqual(['backward', 'example'])
  })

  it('finds a step that makes what does not fit, by the examples of the old version', async () => {
    const before = JSON.parse(
      JSON.stringify(
        lockContracts([made('order.sent', { schema: z.object({ cups: z.string() }), examples: [{ cups: 'two' }] })]),
      ),
    ) as ContractLock
    const now = made('order.sent', {
      ...{ version: 2, schema: z.object({ cups: z.int() }), examples: [{ cups: 2 }] },
      since: {
        1: {
          schema: z.object({ cups: z.string() }),
          example: { cups: '2' },
          toNext: (body: { cups: string }) => ({ cups: Number(body.cups) }),
        },
      },
    })
    expect(await checkContracts([now], before)).toMatchObject([{ at: 'order.sent@1', rule: 'example' }])
  })

  it('finds contracts that are new, gone, or older than the lock', async () => {
    expect(await rules([OrderPlaced], lock)).toEqual(['gone'])
    expect(await rules(contracts, {})).toEqual(['new', 'new'])
    const newer = {
      ...lock,
      'order.paid': { compatibility: 'full', versions: { 2: { schema: null, examples: [] } } },
    } as ContractLock
    expect(await rules(contracts, newer)).toEqual(['version'])
  })

  it('keeps older versions and the strictness of each contract when it is written again', () => {
    const strict = {
      'order.paid': { compatibility: 'none', versions: { 0: { schema: null, examples: [] } } },
    } as ContractLock
    expect(lockContracts(contracts, strict)['order.paid']).toMatchObject({
      compatibility: 'none',
      versions: { 0: {}, 1: { examples: [{ order: 'o-1', cents: 450 }] } },
    })
  })
})

it('contractGraph() draws who tells whom, and lets no name out of its quotes', () => {
  expect(contractGraph(services)).toBe(
    'flowchart LR\n  s0["shop"]\n  s1["billing"]\n  s2["kitchen"]\n  s0 -->|"order.placed"| s1\n  s1 -->|"order.paid"| s2\n',
  )
  const hostile = one('"]; click s0 <script>', [], [])
  expect(contractGraph([hostile]).split('\n')[1]?.match(/"/g)).toHaveLength(2)
})
