import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { misfits, type JsonSchema } from '../../src/contracts/index.ts'
import { jsonSchemaOf } from '../../src/contracts/schema.ts'

const base = { id: z.string(), kind: z.enum(['a', 'b']) }
const letters = (...all: string[]): z.ZodType => z.union(all.map((t) => z.object({ t: z.literal(t) })) as never)

/** A change, and whether it fits backward (new readers, old writers) and forward (old readers, new writers). */
const changes: readonly [name: string, was: z.ZodType, now: z.ZodType, backward: boolean, forward: boolean][] = [
  ['nothing', z.object(base), z.object(base), true, true],
  ['an optional property added', z.object(base), z.object({ ...base, note: z.string().optional() }), true, true],
  ['a required property added', z.object(base), z.object({ ...base, note: z.string() }), false, true],
  ['a property with a default added', z.object(base), z.object({ ...base, n: z.number().default(1) }), true, true],
  ['an optional property removed', z.object({ ...base, note: z.string().optional() }), z.object(base), true, true],
  ['a required property removed', z.object({ ...base, note: z.string() }), z.object(base), true, false],
  ['a value added to an enum', z.object({ kind: z.enum(['a']) }), z.object({ kind: z.enum(['a', 'b']) }), true, false],
  [
    'a value removed from an enum',
    z.object({ kind: z.enum(['a', 'b']) }),
    z.object({ kind: z.enum(['a']) }),
    false,
    true,
  ],
  ['text to number', z.object({ n: z.string() }), z.object({ n: z.number() }), false, false],
  ['integer to number', z.object({ n: z.int() }), z.object({ n: z.number() }), true, false],
  ['optional to required', z.object({ n: z.string().optional() }), z.object({ n: z.string() }), false, true],
  ['null allowed', z.object({ n: z.string() }), z.object({ n: z.string().nullable() }), true, false],
  ['a lower maximum', z.object({ n: z.string().max(10) }), z.object({ n: z.string().max(5) }), false, true],
  ['a minimum taken away', z.object({ n: z.number().positive() }), z.object({ n: z.number() }), true, false],
  [
    'a required property inside',
    z.object({ o: z.object({ a: z.string() }) }),
    z.object({ o: z.object({ a: z.string(), b: z.string() }) }),
    false,
    true,
  ],
  ['another kind of item', z.object({ l: z.array(z.string()) }), z.object({ l: z.array(z.number()) }), false, false],
  ['an alternative added', letters('a', 'b'), letters('a', 'b', 'c'), true, false],
  ['a new name', z.object({ ...base, a: z.string() }), z.object({ ...base, b: z.string() }), false, false],
  [
    'an optional property, strict readers',
    z.strictObject(base),
    z.strictObject({ ...base, note: z.string().optional() }),
    true,
    false,
  ],
  ['a format added', z.object({ e: z.string() }), z.object({ e: z.email() }), false, true],
  ['another value in a record', z.record(z.string(), z.number()), z.record(z.string(), z.string()), false, false],
  ['another literal', z.object({ v: z.literal(1) }), z.object({ v: z.literal(2) }), false, false],
]

const schemaOf = (schema: z.ZodType): JsonSchema => jsonSchemaOf(schema) ?? expect.fail('no JSON Schema')
const fits = (writer: z.ZodType, reader: z.ZodType): boolean => misfits(schemaOf(writer), schemaOf(reader)).length === 0

describe('misfits()', () => {
  it.each(changes)('judges %s (PR-2, PR-3)', (_, was, now, backward, forward) => {
    expect([fits(was, now), fits(now, was)]).toEqual([backward, forward])
  })

  it('names the place', () => {
    const was = z.object({ items: z.array(z.object({ cups: z.int() })) })
    const now = z.object({ items: z.array(z.object({ cups: z.int().max(3) })) })
    expect(misfits(schemaOf(was), schemaOf(now))).toEqual([
      { path: '/items/[]/cups', says: expect.stringContaining('takes at most 3') as string, sure: true },
    ])
  })

  it('ends at a recursive schema, and finds what changed in it', () => {
    const tree = (value: JsonSchema): JsonSchema => ({
      $ref: '#/$defs/node',
      $defs: { node: { type: 'object', properties: { value, next: { $ref: '#/$defs/node' } }, required: ['value'] } },
    })
    expect(misfits(tree({ type: 'string' }), tree({ type: 'string' }))).toEqual([])
    expect(misfits(tree({ type: 'string' }), tree({ type: 'number' }))).toHaveLength(1)
  })

  it('says so where nothing can be told', () => {
    const found = misfits({ type: 'string' }, { type: 'string', pattern: '^a' })
    expect(found).toMatchObject([{ sure: false }])
    expect(misfits({ not: { type: 'string' } }, { not: { type: 'null' } })).toMatchObject([{ sure: false }])
  })
})

/** Random schemas of the shapes that schema libraries write. */
const { schema } = fc.letrec<{
  schema: JsonSchema
  leaf: JsonSchema
  object: JsonSchema
  array: JsonSchema
  union: JsonSchema
}>((tie) => ({
  schema: fc.oneof({ maxDepth: 3, depthSize: 'small' }, tie('leaf'), tie('object'), tie('array'), tie('union')),
  leaf: fc.oneof(
    fc.record({ type: fc.constantFrom('string', 'boolean', 'null') }),
    fc.record(
      {
        type: fc.constant('string'),
        minLength: fc.integer({ min: 0, max: 2 }),
        maxLength: fc.integer({ min: 1, max: 3 }),
      },
      { requiredKeys: ['type'] },
    ),
    fc.record(
      {
        type: fc.constantFrom('number', 'integer'),
        minimum: fc.integer({ min: -2, max: 1 }),
        exclusiveMinimum: fc.integer({ min: -2, max: 1 }),
        maximum: fc.integer({ min: 1, max: 3 }),
      },
      { requiredKeys: ['type'] },
    ),
    fc.record({ enum: fc.uniqueArray(fc.constantFrom('a', 'b', 1, null), { minLength: 1, maxLength: 3 }) }),
    fc.record({ const: fc.constantFrom('a', 1, 2) }),
    fc.constant({}),
  ),
  object: fc
    .tuple(
      fc.dictionary(fc.constantFrom('p', 'q', 'r'), tie('schema'), { maxKeys: 3 }),
      fc.subarray(['p', 'q', 'r']),
      fc.constantFrom(undefined, false),
    )
    .map(([properties, required, additionalProperties]) => ({
      ...{ type: 'object', properties: { ...properties }, required: required.filter((name) => name in properties) },
      ...(additionalProperties !== undefined && { additionalProperties }),
    })),
  array: fc.record(
    {
      type: fc.constant('array'),
      items: tie('schema'),
      minItems: fc.integer({ min: 0, max: 1 }),
      maxItems: fc.integer({ min: 1, max: 2 }),
    },
    { requiredKeys: ['type', 'items'] },
  ),
  union: fc.record({ anyOf: fc.array(tie('schema'), { minLength: 2, maxLength: 3 }) }),
}))

/** A near relative of a schema, so that many pairs differ in one thing only. */
function relative(of: JsonSchema, change: number): JsonSchema {
  let left = change
  return JSON.parse(JSON.stringify(of), (name, value: unknown) => {
    const next = (): boolean => left-- === 0
    if (name === 'maxLength' || name === 'minimum') return next() ? (value as number) + 1 : value
    if (name === 'required') return next() ? (value as string[]).slice(1) : value
    return name === 'enum' && next() ? [...(value as unknown[]), 'z'] : value
  }) as JsonSchema
}

/** What a writer sends: what its schema declares and nothing else. `undefined`: nothing fits. */
function sent(of: JsonSchema, random: () => number): unknown {
  const one = <T>(all: readonly T[]): T | undefined => all[Math.floor(random() * all.length)]
  const { anyOf, ...rest } = of
  if (Array.isArray(anyOf)) return sent({ ...rest, ...(one(anyOf as JsonSchema[]) ?? {}) }, random)
  if ('const' in of) return of['const']
  if ('enum' in of) return one(of['enum'] as unknown[])
  const bound = (name: string, missing: number): number => (typeof of[name] === 'number' ? of[name] : missing)
  switch (of['type']) {
    case 'string': {
      const [low, high] = [bound('minLength', 0), bound('maxLength', bound('minLength', 0) + 2)]
      return high < low ? undefined : 'abc'.slice(0, low + Math.floor(random() * (high - low + 1)))
    }
    case 'boolean':
      return random() < 0.5
    case 'null':
      return null
    case 'integer':
    case 'number': {
      const whole = of['type'] === 'integer'
      const low = Math.max(bound('minimum', -3), bound('exclusiveMinimum', -4) + (whole ? 1 : 0.5))
      const steps = Math.floor((bound('maximum', 4) - low) * (whole ? 1 : 2))
      return low + Math.floor(random() * (steps + 1)) / (whole ? 1 : 2)
    }
    case 'array': {
      const [low, high] = [bound('minItems', 0), bound('maxItems', 2)]
      const items = Array.from({ length: low + Math.floor(random() * (high - low + 1)) }, () =>
        sent(of['items'] as JsonSchema, random),
      )
      return items.includes(undefined) ? undefined : items
    }
    case 'object': {
      const made: Record<string, unknown> = {}
      for (const [name, schema] of Object.entries(of['properties'] as Record<string, JsonSchema>)) {
        const always = (of['required'] as string[]).includes(name)
        const value = always || random() < 0.5 ? sent(schema, random) : undefined
        if (value === undefined && always) return undefined
        if (value !== undefined) made[name] = value
      }
      return made
    }
    default:
      return one(['a', 1, null, {}, [], true])
  }
}

function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

describe('against Ajv', () => {
  // Compiling two schemas for Ajv takes most of the time.
  const count = process.env['HOLDFAST_FULL'] === '1' ? 6000 : 300

  interface Pair {
    readonly writer: JsonSchema
    readonly reader: JsonSchema
    /** Whether a value that the writer sends was found that the reader refuses. */
    readonly counterexample: boolean
  }
  let pairs: readonly Pair[] = []

  beforeAll(() => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    const random = seeded(7)
    const all = fc.sample(fc.tuple(schema, schema, fc.boolean(), fc.nat({ max: 6 })), { numRuns: count, seed: 7 })
    pairs = all.map(([writer, other, near, change]) => {
      const reader = near ? relative(writer, change) : other
      const [own, takes] = [ajv.compile(writer), ajv.compile(reader)]
      let counterexample = false
      for (let n = 0; n < 40 && !counterexample; n++) {
        const value = sent(writer, random)
        counterexample = value !== undefined && own(value) && !takes(value)
      }
      return { writer, reader, counterexample }
    })
  }, 600_000)

  function judged(fits: (pair: Pair) => boolean) {
    const counts = { fits: 0, refuted: 0, misfits: 0, shown: 0 }
    for (const pair of pairs) {
      const fitting = fits(pair)
      counts[fitting ? 'fits' : 'misfits']++
      if (pair.counterexample) counts[fitting ? 'refuted' : 'shown']++
    }
    return counts
  }

  it('nothing that a writer sends is refused by a reader that fits, and most misfits are shown by a value', () => {
    const counts = judged(({ writer, reader }) => misfits(writer, reader).length === 0)
    console.log(`misfits() against Ajv, ${count} random pairs: ${JSON.stringify(counts)}`)
    expect(counts.refuted).toBe(0)
    expect(counts.fits).toBeGreaterThan(count / 4)
    expect(counts.shown / counts.misfits).toBeGreaterThan(0.9)
  })

  /** A reader as one that is blind to a keyword sees it. */
  const blind = (to: string, reader: JsonSchema): JsonSchema =>
    JSON.parse(JSON.stringify(reader), (key, value: unknown) => (key === to ? undefined : value)) as JsonSchema

  it.each(['type', 'required', 'enum', 'const', 'maxLength', 'maximum', 'items', 'additionalProperties'])(
    'refutes a comparison that passes over %s: the law can fail',
    (keyword) => {
      const counts = judged(({ writer, reader }) => misfits(writer, blind(keyword, reader)).length === 0)
      expect(counts.refuted).toBeGreaterThan(0)
    },
  )
})
