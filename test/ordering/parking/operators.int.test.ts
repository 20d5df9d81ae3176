import { afterEach, beforeEach, expect, it } from 'vitest'
import { PermanentError, RetryLater } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { redriveWorker } from '../../../src/dead-letter/index.ts'
import { describeWith } from '../../support/services.ts'
import { holdfast } from '../../cli/support.ts'
import { realWorld, type RealWorld } from './real.ts'

describeWith(['postgres'], 'operators of parked keys', () => {
  let world: RealWorld
  beforeEach(async () => {
    world = await realWorld({ whenDead: 'block-key', parkAfterMs: 500 })
  })
  afterEach(() => world.dispose())

  /** Message 1 is dead and blocks its key; 2 and 3 wait behind it. */
  async function blocked(): Promise<void> {
    world.handler.now = ({ message }) => {
      if (message.id === '1') throw new PermanentError('no address')
    }
    expect(await world.send('1')).toBe('dead-lettered')
    expect(await world.send('2')).toBe('parked')
    expect(await world.send('3')).toBe('parked')
    expect(await world.send('other', 'B')).toBe('handled')
  }
  const mend = () => (world.handler.now = () => {})
  const states = async () =>
    (await world.letters.list({}, { states: ['dead', 'redriving', 'resolved', 'replaced', 'dropped'] })).letters.map(
      ({ state, messageId }) => `${messageId} ${state}`,
    )

  async function redrive(): Promise<void> {
    const made = await world.letters.create({}, undefined, 'test')
    expect(made).toBeDefined()
    const stop = new AbortController()
    const running = redriveWorker({ store: world.letters, pipelines: [world.orders], pollMs: 10 }).run(stop.signal)
    while ((await world.letters.redrive(made?.id ?? ''))?.state === 'running')
      await new Promise((resolve) => setTimeout(resolve, 20))
    stop.abort()
    await running
  }

  it('unblocks a head, which dies again or is handled; then its followers run, in order, and its letter is resolved', async () => {
    await blocked()
    const { scope, lane, messages, nextMs, error, claimKey } = await world.lane()
    expect({ scope, messages, nextMs, claimKey }).toEqual({ scope: 'orders', messages: 3, nextMs: null, claimKey: '1' })
    expect(error).toContain('no address')
    expect(await world.operator.unblockLane?.(scope, lane, 'test')).toBe('ok')
    expect(await world.operator.unblockLane?.(scope, lane, 'test')).toBe('none')
    await world.work(world.isBlocked)
    expect(await world.effects()).toEqual(['other'])
    mend()
    expect(await world.operator.unblockLane?.(scope, lane, 'test')).toBe('ok')
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '1', '2', '3'])
    expect(await states()).toEqual(['1 resolved'])
    expect(await world.send('4')).toBe('handled')
  })

  it('P-21 goes on with the key after a redrive of the letter, at its place', async () => {
    await blocked()
    mend()
    await redrive()
    expect(await world.effects()).toEqual(['other'])
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '1', '2', '3'])
    expect(await states()).toEqual(['1 resolved'])
  })

  it('blocks the key again where the redriven head dies again', async () => {
    await blocked()
    await redrive()
    await world.work(world.isBlocked)
    expect(await world.effects()).toEqual(['other'])
    expect(await states()).toEqual(['1 dead'])
    mend()
    await redrive()
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '1', '2', '3'])
  })

  it('goes on with the key after an edit of the letter, also of an edit: it runs in place of the head', async () => {
    await blocked()
    const [letter] = (await world.letters.list({})).letters
    const first = await world.letters.edit(
      letter?.id ?? '',
      0,
      { messageId: '1a', body: Buffer.from('mended') },
      'test',
    )
    await world.letters.edit(first ?? '', 0, { messageId: '1b', body: Buffer.from('mended again') }, 'test')
    await redrive()
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '1b', '2', '3'])
    expect((await states()).toSorted()).toEqual(['1 replaced', '1a replaced', '1b resolved'])
  })

  it('P-19 goes on with the key after its letter was dropped', async () => {
    await blocked()
    expect(await world.letters.drop({}, 'test')).toHaveLength(1)
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '2', '3'])
    // A redelivery of what was dropped is not handled.
    expect(await world.send('1')).toBe('dead-lettered')
    expect(await states()).toEqual(['1 dropped'])
  })

  it('P-19 goes on with the key after its head was dropped, and frees it after all were', async () => {
    await blocked()
    const { scope, lane, claimKey } = await world.lane()
    expect(await world.operator.dropParked?.(scope, lane, 'test', { claimKey: '2' })).toBe(0)
    expect(await world.operator.dropParked?.(scope, lane, 'test', { claimKey })).toBe(1)
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '2', '3'])
    world.handler.now = ({ message }) => {
      if (message.id === '5') throw new RetryLater(60_000)
    }
    await world.send('5')
    await world.send('6')
    expect(await world.operator.dropParked?.(scope, lane, 'test', 'all')).toBe(2)
    expect(await world.send('7')).toBe('handled')
    expect((await world.letters.log()).map(({ act }) => act)).toEqual(['keys drop', 'keys drop'])
  })

  it('lets one of an unblock and a drop win, however close they come', async () => {
    world.handler.now = ({ message }) => {
      if (message.id.startsWith('dead')) throw new PermanentError('no')
    }
    const keys = Array.from({ length: 40 }, (_, at) => `key-${at}`)
    for (const key of keys) await world.send(`dead ${key}`, key)
    const lanes = (await world.operator.parked?.({ limit: 100 })) ?? []
    expect(lanes).toHaveLength(40)
    const ends = await Promise.all(
      lanes.map(async ({ scope, lane, claimKey }) => {
        const [unblocked, dropped] = await Promise.all([
          world.operator.unblockLane?.(scope, lane, 'a'),
          world.operator.dropParked?.(scope, lane, 'b', { claimKey }),
        ])
        return (unblocked === 'ok' ? 1 : 0) + (dropped ?? 0)
      }),
    )
    expect(new Set(ends)).toEqual(new Set([1]))
  })

  it('P-20 ends at once, and counts no attempt, where a message is dropped in the hands of its worker', async () => {
    await blocked()
    mend()
    const { scope, lane } = await world.lane()
    await world.operator.unblockLane?.(scope, lane, 'test')
    let begun = false
    world.handler.now = async ({ message }) => {
      if (message.id !== '1' || begun) return
      begun = true
      // What an operator could do with psql, blindly.
      await world.pool.query(`delete from ${world.schema}.parked where claim_key = '1'`)
    }
    const nacks: unknown[] = []
    const forget = subscribe('nacked', ({ error }) => nacks.push(error))
    await world.work(world.isFree)
    forget()
    expect(await world.effects()).toEqual(['other', '2', '3'])
    // The lock that its own transaction holds is not waited for: that would be an error of the store, and an attempt.
    expect(nacks).toMatchObject([{ code: 'retry-later', holds: 'lane', afterMs: 0, counts: false }])
  })

  it('shows, unblocks and drops by the command line', async () => {
    await blocked()
    const run = (line: string) => holdfast(`${line} --postgres ${world.url} --schema ${world.schema} --by test`)
    const lines = async (line: string) =>
      (await run(`${line} --json`)).out
        .trim()
        .split('\n')
        .filter(Boolean)
        .map((each) => JSON.parse(each) as object)
    expect(await lines('keys ls')).toMatchObject([{ what: 'blocked', scope: 'orders', key: 'A', messages: 3 }])
    expect(await lines('keys ls --blocked')).toHaveLength(1)
    expect((await run('keys ls')).out).toContain('no address')
    expect(await lines('keys show A --scope orders')).toMatchObject([
      { claimKey: '1' },
      { claimKey: '2' },
      { claimKey: '3' },
    ])
    expect((await run('keys show nobody --scope orders')).exit).toBe(4)
    expect((await run('keys unblock A --scope orders')).exit).toBe(0)
    expect((await run('keys drop A --scope orders --yes')).err).toContain('not blocked')
    await world.work(world.isBlocked)
    expect((await run('keys drop A --scope orders')).exit).toBe(4)
    expect((await run('keys drop A --scope orders --yes')).exit).toBe(0)
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['other', '2', '3'])
  })
})
