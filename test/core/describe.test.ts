import { describe, expect, it } from 'vitest'
import { json, type Schema } from '../../src/codecs/json.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { staged, type Facts, type Middleware } from '../../src/core/delivery.ts'
import { keyFromDigest, keyFromHeader } from '../../src/idempotency/key.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { bulkhead } from '../../src/retry/bulkhead.ts'
import { circuitBreaker } from '../../src/retry/circuit-breaker.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'

const any: Schema = { '~standard': { version: 1, validate: (value) => ({ value }) } }
const to = { publish: () => Promise.resolve() }
const store = memoryIdempotencyStore()
const named = (name: string, more: Partial<IdempotencyStore> = {}): IdempotencyStore => ({ ...store, name, ...more })
const transaction = (facts: Facts): Middleware => staged((next) => next, { name: 'transaction', facts })
const handled = (): void => {}

describe('describe()', () => {
  it('prints the stack, what it promises and what it may cost', () => {
    const orders = pipeline('billing.orders')
      .use(deadLetter({ to }))
      .decode(json(any))
      .use(idempotency({ store, leaseMs: 30_000 }))
      .use(retry({ maxAttempts: 3, sleepUpToMs: 2_000 }))
      .use(circuitBreaker({ name: 'payment-api' }))
      .use(bulkhead({ maxConcurrent: 8 }))
      .use(timeout({ afterMs: 10_000 }))
      .handle(handled)
    const description = orders.describe()
    expect(description).toMatchObject({ name: 'billing.orders', worstAttempts: 3, worstMs: 3 * 20_000 + 2 * 2_000 })
    const printed = description.toString()
    expect(
      printed
        .split('\n')
        .slice(0, 9)
        .map((line) => line.replace(/ {2}\(.*/, '')),
    ).toEqual([
      'billing.orders',
      '└ dead-letter',
      '  └ decode',
      '    └ idempotency',
      '      └ retry',
      '        └ circuit-breaker',
      '          └ bulkhead',
      '            └ timeout',
      '              └ handler',
    ])
    expect(printed).toContain('3 attempts in one delivery, at most 64 s')
    expect(printed).toContain('maxAttempts 3')
  })

  it('promises no more than the stack can keep', () => {
    const guarantee = (...stages: readonly Middleware[]) =>
      stages
        .reduce((built, stage) => built.use(stage), pipeline('x'))
        .handle(handled)
        .describe().guarantee
    expect(guarantee()).toContain('duplicates reach the handler')
    expect(guarantee(idempotency({ store }))).toMatch(/not handled again within 7 d, known to this process alone/)
    expect(guarantee(idempotency({ store: named('redis') }))).toMatch(/may repeat .* completion in redis/)
    const postgres = named('postgresql', { completeIn: () => Promise.resolve('ok') } as Partial<IdempotencyStore>)
    expect(guarantee(idempotency({ store: postgres }))).toContain('may repeat')
    expect(guarantee(idempotency({ store: postgres }), transaction({ database: 'postgresql' }))).toContain(
      'effects in the postgresql transaction happen once per key within 7 d; external effects may repeat',
    )
    for (const text of [guarantee(), guarantee(idempotency({ store }))]) expect(text).not.toContain('exactly')
  })

  it('says what is doubtful', () => {
    const warnings = (...stages: readonly Middleware[]) =>
      stages
        .reduce((built, stage) => built.use(stage), pipeline('x'))
        .handle(handled)
        .describe()
        .warnings.join('\n')
    expect(warnings()).toContain('no deadLetter()')
    expect(warnings(idempotency({ store }))).toContain('a lease without a timeout()')
    expect(warnings(idempotency({ store }))).toContain('idempotency() without retry()')
    expect(warnings(idempotency({ store }))).toContain('keys are message ids')
    expect(warnings(idempotency({ store, key: keyFromDigest }))).toContain('keys are digests of the bytes')
    // The service says what its keys are: there is nothing to say about message ids.
    for (const key of [keyFromHeader('idempotency-key'), () => 'k'])
      expect(warnings(idempotency({ store, key }))).not.toContain('keys are')
    expect(warnings(idempotency({ store }), transaction({ database: 'postgresql' }))).toContain(
      'cannot complete inside the postgresql transaction',
    )
    expect(warnings(idempotency({ store }), retry(), timeout({ afterMs: 5 }))).not.toContain('timeout()')
  })

  it('says that nothing bounds the time where nothing does', () => {
    const { worstMs, ...description } = pipeline('x').use(retry()).handle(handled).describe()
    expect(worstMs).toBe(null)
    expect(description.toString()).toContain('no bound on the time')
  })

  it('I-22: refuses to forget keys before the delivery itself may be over, and warns where that is soon', () => {
    const build = (retainMs: number) =>
      pipeline('x')
        .use(idempotency({ store, retainMs }))
        .use(retry({ maxAttempts: 5 }))
        .use(timeout({ afterMs: 10_000 }))
        .handle(handled)
    expect(() => build(60_000)).toThrow('idempotency remembers a key for 60 s, but one delivery may take 120 s')
    expect(build(3_600_000).describe().warnings.join('\n')).toContain('keys are forgotten after 3600 s')
    expect(
      build(7 * 86_400_000)
        .describe()
        .warnings.join('\n'),
    ).not.toContain('forgotten')
  })

  it('I-30: refuses more handlers at once than the pool of the transaction has connections', () => {
    const build = (maxConcurrent: number) =>
      pipeline('x')
        .use(bulkhead({ maxConcurrent }))
        .use(transaction({ poolSize: 10 }))
        .handle(handled)
    expect(() => build(11)).toThrow('x: bulkhead lets 11 handlers run, but the transaction')
    expect(build(10).stages).toHaveLength(2)
  })

  it.each<[string, () => unknown, RegExp]>([
    [
      'I-31: retry outside the claim',
      () => pipeline('x').use(retry()).use(idempotency({ store })),
      /idempotency must stand outside retry: the claim must outlive every attempt/,
    ],
    [
      'B-8: breaker outside retry',
      () =>
        pipeline('x')
          .use(circuitBreaker({ name: 'a' }))
          .use(retry()),
      /retry must stand outside circuit-breaker: it must see every attempt/,
    ],
    [
      'timeout outside retry',
      () =>
        pipeline('x')
          .use(timeout({ afterMs: 5 }))
          .use(retry()),
      /retry must stand outside timeout/,
    ],
    [
      'dead letter inside retry',
      () => pipeline('x').use(retry()).use(deadLetter({ to })),
      /dead-letter must stand outside retry/,
    ],
    [
      'dead letter inside idempotency',
      () => pipeline('x').use(idempotency({ store })).use(deadLetter({ to })),
      /dead-letter must stand outside idempotency/,
    ],
    [
      'dead letter inside the decoder',
      () =>
        pipeline('x')
          .decode(json(any))
          .use(deadLetter({ to }) as Middleware),
      /dead-letter must not stand inside decode: it must keep the untouched bytes/,
    ],
    [
      'transaction outside idempotency',
      () => pipeline('x').use(transaction({})).use(idempotency({ store })),
      /idempotency must not stand inside transaction/,
    ],
    [
      'two timeouts',
      () =>
        pipeline('x')
          .use(timeout({ afterMs: 5 }))
          .use(timeout({ afterMs: 9 })),
      /two timeout stages/,
    ],
    ['two retries', () => pipeline('x').use(retry()).use(retry()), /two retry stages/],
    [
      'two claims',
      () => pipeline('x').use(idempotency({ store })).use(idempotency({ store })),
      /two idempotency stages/,
    ],
  ])('refuses %s when it is built, with the reason', (_, build, message) => {
    const built = build() as { handle(handler: () => void): unknown }
    expect(() => built.handle(handled)).toThrow(message)
  })
})
