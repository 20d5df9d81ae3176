import { describe, expect, it } from 'vitest'
import { sleep, systemClock } from '../../src/core/clock.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watched } from '../support/watch.ts'

describe('sleep()', () => {
  it('ends when its time has come', async () => {
    const clock = fakeClock()
    const slept = watched(sleep(clock, 1_000))
    await clock.advance(999)
    expect(slept.now.state).toBe('pending')
    await clock.advance(1)
    expect(slept.now.state).toBe('fulfilled')
  })

  it('B-3: ends at once when its signal aborts, with the reason, and leaves no timer', async () => {
    const clock = fakeClock()
    const stop = new AbortController()
    const slept = watched(sleep(clock, 1_000, stop.signal))
    const reason = new Error('shutdown')
    stop.abort(reason)
    await clock.advance(0)
    expect(slept.now.error).toBe(reason)
    expect(clock.waiting).toBe(0)
  })

  it('does not begin where its signal is aborted already', async () => {
    const clock = fakeClock()
    await expect(sleep(clock, 1_000, AbortSignal.abort('stopped'))).rejects.toMatchObject({ cause: 'stopped' })
    expect(clock.waiting).toBe(0)
  })

  it('B-5: lasts as long as it is told past what one timer can hold', async () => {
    const clock = fakeClock()
    const longest = 2 ** 31 - 1
    // A clock that, like Node's, has no longer timers.
    const short = {
      ...clock,
      after: (ms: number, callback: () => void) => clock.after(Math.min(ms, longest), callback),
    }
    const slept = watched(sleep(short, 2.5 * longest))
    await clock.advance(2.4 * longest)
    expect(slept.now.state).toBe('pending')
    await clock.advance(0.1 * longest + 1)
    expect(slept.now.state).toBe('fulfilled')
  })

  it('takes its listener off the signal, however it ends', async () => {
    const clock = fakeClock()
    const stop = new AbortController()
    let listeners = 0
    const counted = Object.assign(stop.signal, {
      addEventListener: () => void listeners++,
      removeEventListener: () => void listeners--,
    })
    const slept = watched(sleep(clock, 1_000, counted))
    expect(listeners).toBe(1)
    await clock.advance(1_000)
    expect(slept.now.state).toBe('fulfilled')
    expect(listeners).toBe(0)
  })
})

describe('systemClock', () => {
  it('tells both times, and calls back once or never', async () => {
    expect(systemClock.now()).toBeLessThanOrEqual(systemClock.now())
    expect(Math.abs(systemClock.wall() - Date.now())).toBeLessThan(60_000)
    let called = 0
    const cancel = systemClock.after(0, () => called++)
    cancel()
    await new Promise<void>((resolve) => void systemClock.after(1, resolve))
    await new Promise<void>((resolve) => void systemClock.after(-5, resolve, false))
    expect(called).toBe(0)
  })

  it('B-5: a delay past 2³¹ − 1 ms does not fire at once', async () => {
    let called = false
    const cancel = systemClock.after(2 ** 40, () => (called = true))
    await new Promise<void>((resolve) => void systemClock.after(20, resolve))
    cancel()
    expect(called).toBe(false)
  })
})

describe('fakeClock()', () => {
  it('runs timers at their own instants, in order, and settles in between', async () => {
    const clock = fakeClock({ wallMs: 5_000 })
    const seen: string[] = []
    clock.after(20, () => void seen.push(`late ${clock.now()}`))
    clock.after(10, () => {
      seen.push(`early ${clock.now()}`)
      void Promise.resolve()
        .then(() => clock.after(5, () => seen.push(`nested ${clock.now()}`)))
        .then(() => seen.push(`settled ${clock.now()}`))
    })
    clock.after(10, () => seen.push('same instant, later'))
    clock.after(10, () => seen.push('never'))()
    await clock.advance(100)
    expect(seen).toEqual(['early 10', 'settled 10', 'same instant, later', 'nested 15', 'late 20'])
    expect([clock.now(), clock.wall()]).toEqual([100, 5_100])
  })

  it('counts the timers that would keep a process alive', async () => {
    const clock = fakeClock()
    clock.after(10, () => {}, true)
    const cancel = clock.after(10, () => {})
    expect(clock.waiting).toBe(1)
    cancel()
    expect(clock.waiting).toBe(0)
  })
})
