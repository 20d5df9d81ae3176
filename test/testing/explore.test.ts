import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { idempotency, pipeline, PermanentError, type Delivery } from 'holdfast'
import { expectResilient, explore, invariant, keyed, ResilienceError, type Kit } from 'holdfast/testing'
import { ourStack } from '../../scripts/chaos/simulated/scenarios.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-chaos-'))
afterAll(() => rmSync(folder, { recursive: true }))

type Order = { readonly id: string; readonly number: number }
const charge = (_id: string): void => {}

async function chargeCustomer({ message }: Delivery<Order>, effects: { charge(id: string): Promise<void> }) {
  await effects.charge(message.body.id)
}

async function failure(work: Promise<unknown>): Promise<ResilienceError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof ResilienceError) return error
  throw new Error('it was expected to fail', { cause: error })
}

describe('expectResilient', () => {
  it('says in plain words what a duplicate does to a bare handler, and how to see it again', async () => {
    const error = await failure(expectResilient(chargeCustomer, { effects: { charge }, faults: ['duplicate'] }))
    expect(error.message.split('\n')).toEqual([
      'chargeCustomer: once',
      '  m1 took effect twice: charge',
      '',
      expect.stringMatching(
        /^Schedule \d+ \(seed \d+\) broke it; shrunk in \d+ replays to 1 message, 1 consumer, 1 deviation:$/,
      ),
      '',
      '     0.00 s  producer  sends m1 (k1) to p0',
      '     0.00 s  producer  sends m1 (k1) to p0',
      '     0.00 s  A         handler starts m1',
      '     0.00 s  A         charge m1',
      '     0.00 s  A         m1 is handled',
      '     0.00 s  A         handler starts m1',
      '     0.00 s  A         commit p0@1 → ok',
      '     0.00 s  A         charge m1',
      '     0.00 s            ✗ once: m1 took effect twice: charge',
      '',
      'Replay:',
      "  replay: 'm1 c1 p1; duplicate send m1 0ms'",
    ])
    expect(error).toMatchObject({ invariant: 'once', replay: 'm1 c1 p1; duplicate send m1 0ms' })
  })

  it('passes a handler whose target knows an idempotency key, whatever goes wrong', async () => {
    const effects = { charge: keyed(charge, (id) => id) }
    await expect(expectResilient(chargeCustomer, { effects, seeds: 300 })).resolves.toMatchObject({ schedules: 301 })
  })

  it('finds the message that a handler swallows', async () => {
    async function forgetful({ message }: Delivery<Order>, effects: { charge(id: string): Promise<void> }) {
      await effects.charge(message.body.id).catch(() => undefined)
    }
    const eventually = invariant('charged', (ledger) => {
      const missed = ledger.fates().find(({ effects }) => !effects.has('charge'))
      return missed && `${missed.message.id} was never charged`
    })
    const error = await failure(
      expectResilient(forgetful, { effects: { charge }, faults: ['fail'], invariants: [eventually] }),
    )
    expect(error.message).toContain('m1 was never charged')
    expect(error.replay).toBe('m1 c1 p1; fail A.charge m1')
  })

  it('finds a handler that never gives up on a message that cannot be handled', async () => {
    const error = await failure(
      expectResilient(
        () => {
          throw new PermanentError('no')
        },
        { seeds: 1, messages: 1 },
      ),
    )
    expect(error.message).toMatch(/^handler: (bounded-attempts|drained)\n/)
  })
})

describe('explore', () => {
  const once = (kit: Kit<{ charge: typeof charge }>) =>
    pipeline('billing')
      .use(idempotency({ store: kit.store }))
      .handle(kit.handler(({ message }) => kit.effects.charge(message.id)))

  it('passes a handler that is wrapped, where only deliveries go wrong', async () => {
    const faults = ['duplicate', 'redelivery', 'reorder', 'rebalance', 'partial-batch'] as const
    const result = await explore({ pipeline: once, effects: { charge }, faults, seeds: 300 })
    expect(result).toMatchObject({ schedules: 301, leftSimulation: [] })
  })

  it('I-19: finds the crash between an external effect and its completion, which no wrapping can heal', async () => {
    const error = await failure(explore({ pipeline: once, effects: { charge }, faults: ['crash'] }))
    expect(error.invariant).toBe('once')
    expect(error.replay).toMatch(/^m1 c1 p1; crash A\.(charge m1⏎|complete m1)$/)
  })

  it('passes our own stack, with all faults', async () => {
    await expect(explore({ pipeline: ourStack, seeds: 400 })).resolves.toMatchObject({ schedules: 401 })
  })

  it('replays a line, and nothing else', async () => {
    const replay = 'm1 c1 p1; crash A.charge m1⏎'
    const error = await failure(explore({ pipeline: once, effects: { charge }, replay }))
    expect(error.replay).toBe(replay)
    expect(error.message).toContain('The replayed schedule broke it, with 1 message, 1 consumer, 1 deviation:')
    await expect(explore({ pipeline: once, effects: { charge }, replay: 'm1 c1 p1' })).resolves.toMatchObject({
      schedules: 1,
      missed: [],
    })
    const elsewhere = 'm1 c1 p1; crash A.charge m7; duplicate send m1 0ms'
    await expect(explore({ pipeline: once, effects: { charge }, replay: elsewhere })).resolves.toMatchObject({
      missed: ['crash A.charge m7'],
    })
  })

  it('keeps what it finds in a file, and looks there first the next time', async () => {
    const seedFile = join(folder, 'billing.seeds')
    const options = { pipeline: once, effects: { charge }, faults: ['crash'], seedFile } as const
    const first = await failure(explore(options))
    expect(readFileSync(seedFile, 'utf8')).toBe(`${first.replay}\n`)
    const second = await failure(explore({ ...options, seeds: 1 }))
    expect(second.replay).toBe(first.replay)
    expect(second.message).toContain('The replayed schedule broke it')
    writeFileSync(seedFile, '# fixed since\n\n')
    await expect(explore({ ...options, seeds: 1, faults: ['duplicate'] })).resolves.toMatchObject({ schedules: 2 })
  })

  it('finds the same again from the same seed', async () => {
    const options = { pipeline: once, effects: { charge }, faults: ['crash', 'pause'] } as const
    const [one, two] = [await failure(explore(options)), await failure(explore(options))]
    expect(one.message.replace(/in \d+ replays/, '')).toBe(two.message.replace(/in \d+ replays/, ''))
  })

  it('leads real clocks, timers and dice into the simulation, and leaves them real outside', async () => {
    const realNow = Date.now
    const seen: unknown[] = []
    await explore({
      messages: 1,
      consumers: 1,
      seeds: 1,
      faults: [],
      pipeline: ({ handler }) =>
        pipeline('times').handle(
          handler(async () => {
            const startedMs = Date.now()
            const monotonicMs = performance.now()
            await new Promise((resolve) => setTimeout(resolve, 3_600_000))
            const timers = await import('node:timers/promises')
            await timers.setTimeout(3_600_000)
            const timedOut = AbortSignal.timeout(1_000)
            await new Promise((resolve) => timedOut.addEventListener('abort', resolve))
            seen.push([
              new Date().getTime() - startedMs,
              performance.now() - monotonicMs,
              Math.random(),
              crypto.randomUUID(),
              new Date() instanceof Date,
            ])
          }),
        ),
    })
    expect(seen).toHaveLength(2)
    expect(seen[0]).toEqual(seen[1])
    expect(seen[0]).toMatchObject([7_201_000, 7_201_000, expect.any(Number), expect.any(String), true])
    expect(Date.now).toBe(realNow)
  })

  it('says when a handler leaves the simulation', async () => {
    const { leftSimulation } = await explore({
      messages: 1,
      seeds: 1,
      faults: [],
      pipeline: ({ handler }) =>
        pipeline('outside').handle(
          handler(async () => {
            const { readFile } = await import('node:fs/promises')
            await readFile(import.meta.filename)
          }),
        ),
    })
    expect(leftSimulation).toEqual(['m1'])
  })

  it('notices a handler that was not handed over', async () => {
    const error = await failure(explore({ pipeline: () => pipeline('bare').handle(async () => {}), seeds: 1 }))
    expect(error.message).toContain('m1 was handled, but not by a handler made with handler(…): wrap yours in it')
  })

  it.for([
    [{ seeds: 0 }, 'explore: seeds must be an integer of at least 1, got 0'],
    [{ faults: ['meteor'] }, /^explore: faults must be made of crash, .*, got 'meteor'$/],
    [{ invariants: ['beauty'] }, /^explore: invariants must be made of invariant\(…\) and no-loss, .*, got 'beauty'$/],
    [{ replay: 'nonsense' }, /^explore: replay must be a line/],
  ] as const)('refuses %j', async ([options, message]) => {
    // As JavaScript would call it.
    const call = explore as (options: unknown) => Promise<unknown>
    await expect(call({ pipeline: ourStack, ...options })).rejects.toThrow(message)
  })
})
