import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { idempotency, json, pipeline, PermanentError, retry, type Delivery } from 'holdfast'
import { expectResilient, explore, invariant, keyed, ResilienceError, type Kit } from 'holdfast/testing'
import { z } from 'zod'
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

describe('what a handler only reads', () => {
  const balance = (): number => 1000
  async function checksFirst(
    { message }: Delivery<Order>,
    calls: { balance(): Promise<number>; charge(id: string): Promise<void> },
  ) {
    if ((await calls.balance()) > 0) await calls.charge(message.body.id)
  }
  const effects = { charge: keyed(charge, (id) => id) }

  it('may be read again: a repeated read is no second effect', async () => {
    await expect(expectResilient(checksFirst, { effects, reads: { balance }, seeds: 200 })).resolves.toMatchObject({
      schedules: 201,
    })
    // The same function as an effect has to happen once.
    const error = await failure(
      expectResilient(checksFirst, { effects: { ...effects, balance }, faults: ['duplicate'] }),
    )
    expect(error.message).toContain('m1 took effect twice: balance')
  })

  it('is a place for faults, as an effect is', async () => {
    async function forgetful(
      { message }: Delivery<Order>,
      calls: { balance(): Promise<number>; charge(id: string): Promise<void> },
    ) {
      const cents = await calls.balance().catch(() => 0)
      if (cents > 0) await calls.charge(message.body.id)
    }
    const charged = invariant('charged', (ledger) => {
      const missed = ledger.fates().find(({ effects }) => !effects.has('charge'))
      return missed && `${missed.message.id} was never charged`
    })
    const options = { effects, reads: { balance }, faults: ['fail'], invariants: [charged] } as const
    expect((await failure(expectResilient(forgetful, options))).replay).toBe('m1 c1 p1; fail A.balance m1')
  })

  it('reaches a pipeline as kit.reads, and has no name that an effect has', async () => {
    const build = ({
      store,
      clock,
      handler,
      reads,
      effects: { charge },
    }: Kit<typeof effects, { balance: typeof balance }>) =>
      pipeline<Order>('billing')
        .use(idempotency({ store, clock }))
        .use(retry({ clock }))
        .handle(handler((delivery) => checksFirst(delivery, { ...reads, charge })))
    await expect(explore({ pipeline: build, effects, reads: { balance }, seeds: 200 })).resolves.toMatchObject({
      schedules: 201,
    })
    await expect(expectResilient(checksFirst, { effects, reads: { charge, balance } })).rejects.toThrow(
      "explore: reads must be named otherwise than the effects, got 'charge'",
    )
  })
})

describe('keyed', () => {
  it('shows a call that its target did not carry out again, with the key', async () => {
    const effects = { charge: keyed(charge, (id) => `order ${id}`) }
    const twice = invariant('started once', (ledger) => {
      const again = ledger.fates().find(({ starts }) => starts > 1)
      return again && `${again.message.id} was started ${again.starts} times`
    })
    const faults = ['duplicate'] as const
    const error = await failure(expectResilient(chargeCustomer, { effects, faults, invariants: [twice] }))
    expect(error.message).toContain('A         charge m1, not done again: the key order m1 was used before')
  })

  it.each([undefined, '', 7, null])(
    'ends the exploration for the key %j, which would make all calls one',
    async (key) => {
      // As JavaScript would call it.
      const effects = { charge: keyed(charge, () => key as string) }
      const error: unknown = await expectResilient(chargeCustomer, { effects }).catch((thrown: unknown) => thrown)
      expect(error).not.toBeInstanceOf(ResilienceError)
      expect(String(error)).toContain('keyed: the key of charge must be a string that is not empty, got')
    },
  )

  it('refuses what is no function', () => {
    expect(() => keyed(charge, undefined as never)).toThrow('keyed: keyOf must be a function, got undefined')
  })
})

describe('bodies', () => {
  type Sent = { readonly order: string }
  const body = (number: number): Sent => ({ order: `order-${number}` })
  const one = { messages: 1, seeds: 1, faults: [] } as const

  it('reach a bare handler and a pipeline without a decoder in one form: a copy of what `body` returned', async () => {
    const seen: unknown[] = []
    const note = ({ message }: Delivery<Sent>) => void seen.push(message.body)
    await expectResilient(note, { ...one, body })
    await explore({ ...one, body, pipeline: ({ handler }) => pipeline<Sent>('plain').handle(handler(note)) })
    expect(seen).toEqual([body(1), body(1), body(1), body(1)])
    expect(new Set(seen).size).toBe(4)
  })

  it('reach a decoder as bytes, in a pipeline and as `codec` of a bare handler', async () => {
    const seen: unknown[] = []
    const codec = json(z.object({ order: z.string().transform((order) => order.toUpperCase()) }))
    const note = ({ message }: Delivery<Sent>) => void seen.push(message.body.order)
    await expectResilient(note, { ...one, body, codec })
    await explore({ ...one, body, pipeline: ({ handler }) => pipeline('decoded').decode(codec).handle(handler(note)) })
    expect(seen).toEqual(['ORDER-1', 'ORDER-1', 'ORDER-1', 'ORDER-1'])
  })

  it('stay bytes where `body` returns bytes', async () => {
    const seen: unknown[] = []
    const note = ({ message }: Delivery) => void seen.push(message.body)
    const bytes = { ...one, body: () => new Uint8Array([1, 2]) }
    await expectResilient(note, bytes)
    await explore({ ...bytes, pipeline: ({ handler }) => pipeline('bytes').handle(handler(note)) })
    expect(seen).toEqual(Array.from({ length: 4 }, () => new Uint8Array([1, 2])))
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
