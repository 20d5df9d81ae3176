import { describe, expect, it } from 'vitest'
import { deadLetter, idempotency, json, pipeline, retry } from '../../../src/index.ts'
import { memorySequenceStore } from '../../../src/ordering/memory-sequence-store.ts'
import { delayed, parking, type ParkingOptions } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { sequence } from '../../../src/ordering/sequence.ts'
import { memoryIdempotencyStore } from '../../../src/transports/memory/idempotency-store.ts'

const store = memoryIdempotencyStore()
const dead = () => deadLetter({ to: { publish: () => Promise.resolve() } })
const parks = (more: Partial<ParkingOptions> = {}) => parking({ store, ...more })
const claims = (more: Partial<Parameters<typeof idempotency>[0]> = {}) => idempotency({ store, ...more })
const schema = { '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => ({ value }) } }
const handle = () => Promise.resolve()

describe('parking() refuses, when the pipeline is built,', () => {
  it.each<[title: string, build: () => unknown, reason: RegExp]>([
    ['a place inside idempotency', () => pipeline('p').use(claims()).use(parks()).handle(handle), /inside idempotency/],
    [
      'a place inside retry',
      () => pipeline('p').use(retry()).use(parks()).use(claims()).handle(handle),
      /outside retry/,
    ],
    [
      'a place inside decode',
      () =>
        pipeline('p')
          .decode(json(schema))
          .use(parks() as never)
          .use(claims())
          .handle(handle),
      /inside decode/,
    ],
    [
      'a place outside deadLetter',
      () => pipeline('p').use(parks()).use(dead()).use(claims()).handle(handle),
      /dead-letter must stand outside/,
    ],
    ['a second one', () => pipeline('p').use(parks()).use(parks()).use(claims()).handle(handle), /two parking stages/],
    [
      'delayed() beside it',
      () => pipeline('p').use(delayed({ store })).use(parks()).use(claims()).handle(handle),
      /one place/,
    ],
    ['no idempotency inside', () => pipeline('p').use(parks()).handle(handle), /needs idempotency inside it/],
    [
      'another store object than that of idempotency',
      () =>
        pipeline('p')
          .use(parks())
          .use(claims({ store: memoryIdempotencyStore() }))
          .handle(handle),
      /same store object/,
    ],
    [
      'mode observe',
      () =>
        pipeline('p')
          .use(parks())
          .use(claims({ mode: 'observe' }))
          .handle(handle),
      /mode 'observe'/,
    ],
    [
      'fail-open',
      () =>
        pipeline('p')
          .use(parks())
          .use(claims({ onStoreError: 'fail-open' }))
          .handle(handle),
      /'fail-open', lets/,
    ],
    [
      'a retention shorter than a message may be parked',
      () =>
        pipeline('p')
          .use(parks({ maxAgeMs: 86_400_000 }))
          .use(claims({ retainMs: 3_600_000 }))
          .handle(handle),
      /remembers a key for 3600 s, but a message may be parked for 1 d/,
    ],
    [
      'block-key without deadLetter',
      () =>
        pipeline('p')
          .use(parks({ whenDead: 'block-key' }))
          .use(claims())
          .handle(handle),
      /needs deadLetter outside it/,
    ],
    [
      'P-18 delayed() with sequence()',
      () =>
        pipeline('p')
          .use(delayed({ store }))
          .use(claims())
          .use(sequence({ store: memorySequenceStore() }))
          .handle(handle),
      /taken for a stale one/,
    ],
  ])('%s', (_, build, reason) => {
    expect(build).toThrow(reason)
  })

  it('a store that does not park, such as that of Redis', () => {
    const redis = { name: 'redis', claim: handle, renew: handle, complete: handle, release: handle, fail: handle }
    expect(() => parking({ store: redis as never })).toThrow(/parking: store must be an object with park\(\)/)
  })

  it('another way than to hold where a key is full', () => {
    expect(() => parks({ whenFull: 'drop' as never })).toThrow(/whenFull must be one of 'hold'/)
  })
})

describe('parkingWorker() refuses', () => {
  it('pipelines that park nothing, in another store, or twice', () => {
    const plain = pipeline('plain').use(claims()).handle(handle)
    const parked = pipeline('parked').use(parks()).use(claims()).handle(handle)
    expect(() => parkingWorker({ store, pipelines: [plain] })).toThrow(/pipelines with parking\(\)/)
    expect(() => parkingWorker({ store: memoryIdempotencyStore(), pipelines: [parked] })).toThrow(
      /the store object of parking/,
    )
    expect(() => parkingWorker({ store, pipelines: [parked, parked] })).toThrow(/different names/)
  })
})

describe('describe()', () => {
  const text = (more: Partial<ParkingOptions>) =>
    pipeline('p').use(dead()).use(parks(more)).use(claims()).handle(handle).describe().toString()

  it('says what waits where, for how long, and what comes after that', () => {
    expect(text({ parkAfterMs: 2_500, maxPerKey: 50, maxAgeMs: 7_200_000, whenDead: 'block-key' })).toContain(
      "waits of 2.5 s and more leave their key's lane, and the key's later messages wait behind; at most 50 a key, then the lane holds; at most 7200 s, then alert; dead: block-key",
    )
  })

  it('prints the weaker promise where the source keeps no order, and none where nothing is ordered', () => {
    expect(text({})).not.toContain('keeps no')
    expect(text({ sourceOrder: 'none' })).toContain('only what is parked is in order')
    const unordered = pipeline('p').use(delayed({ store })).use(claims()).handle(handle).describe().toString()
    expect(unordered).toContain('NO ORDER')
  })
})
