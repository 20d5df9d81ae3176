import { toStandardJsonSchema } from '@valibot/to-json-schema'
import * as v from 'valibot'
import { z } from 'zod'
import { contract, service, type Service } from '../../src/contracts/index.ts'

// What schemas and names can be like, for the documents that are made of them.

const Address = z.object({ street: z.string(), city: z.string() }).meta({ id: 'Address' })
const Part = z.object({
  name: z.string().min(1).max(40),
  get parts() {
    return z.array(Part).optional()
  },
})

const about = { owner: 'shop', why: 'It happened, and others need it.', version: 1 } as const

/** One schema in two places, which the library writes once and refers to. */
export const Shipped = contract('order.shipped', {
  ...about,
  schema: z.object({ from: Address, to: Address, machine: Part }),
  examples: [
    {
      from: { street: 'a', city: 'b' },
      to: { street: 'c', city: 'd' },
      machine: { name: 'grinder', parts: [{ name: 'burr' }] },
    },
  ],
})

/** It refers to itself as a whole. */
export const PartListed = contract('part listed/über', {
  ...about,
  schema: Part,
  destination: 'a/b c.{d}',
  key: ({ name }) => name,
  examples: [{ name: 'group head' }],
})

const Kinds = contract('kinds.shown', {
  ...about,
  schema: z.object({
    at: z.iso.datetime().transform((text) => new Date(text)),
    kind: z.enum(['a', 'b']).nullable(),
    either: z.union([z.literal(1), z.object({ deep: z.record(z.string(), z.array(z.number())) })]),
    count: z.int().min(0).default(1),
    pair: z.tuple([z.string(), z.boolean()]),
  }),
  examples: [{ at: '2026-01-01T00:00:00Z', kind: null, either: { deep: { x: [1] } }, pair: ['a', true] }],
  deprecated: { since: '2026-01-01', until: '2999-01-01', instead: 'order.shipped' },
})

const Undescribed = contract('part listed_über', {
  ...about,
  schema: z.object({ at: z.date() }),
  examples: [{ at: new Date(0) }],
})

const Valibot = contract('valibot.shown', {
  ...about,
  schema: toStandardJsonSchema(v.object({ id: v.string(), tags: v.optional(v.array(v.picklist(['x', 'y']))) })),
  examples: [{ id: 'a' }],
})

export const services: readonly Service[] = [
  service('publishes everything', {
    owner: 'shop',
    does: 'Has every kind of schema.',
    publishes: [Shipped, PartListed, Kinds, Undescribed, Valibot],
    consumes: [],
  }),
  service('handles everything', {
    owner: 'shop',
    does: 'Handles every kind of schema.',
    publishes: [],
    consumes: [Shipped, PartListed, Kinds, Undescribed, Valibot],
  }),
]
