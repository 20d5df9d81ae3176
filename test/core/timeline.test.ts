import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { Moment, timeline, type Timeline } from '../../src/core/timeline.ts'

class Named extends Moment {
  readonly name: string
  constructor(name: string) {
    super()
    this.name = name
  }
}

function setup(delayMs = 100) {
  const clock = fakeClock()
  const due: string[] = []
  const line: Timeline<Named> = timeline(clock, delayMs, ({ name }) => void due.push(`${name} at ${clock.now()}`))
  return { clock, due, line }
}

describe('timeline()', () => {
  it('calls each entry when it is due', async () => {
    const { clock, due, line } = setup()
    line.add(new Named('a'))
    await clock.advance(30)
    line.add(new Named('b'))
    await clock.advance(1_000)
    expect(due).toEqual(['a at 100', 'b at 130'])
  })

  it('never calls what was removed, and removing twice does no harm', async () => {
    const { clock, due, line } = setup()
    const [a, b, c] = [new Named('a'), new Named('b'), new Named('c')]
    for (const each of [a, b, c]) line.add(each)
    line.remove(b)
    line.remove(b)
    await clock.advance(1_000)
    line.remove(a)
    expect(due).toEqual(['a at 100', 'c at 100'])
  })

  it('counts from another time where it is told to, before or after what stands in it', async () => {
    const { clock, due, line } = setup()
    await clock.advance(50)
    line.add(new Named('now'))
    line.add(new Named('from earlier'), 10)
    line.add(new Named('overdue'), -500)
    await clock.advance(1_000)
    // A timer takes a millisecond at least.
    expect(due).toEqual(['overdue at 51', 'from earlier at 110', 'now at 150'])
  })

  it('takes an entry back in its own callback', async () => {
    const clock = fakeClock()
    let times = 0
    const line = timeline<Named>(clock, 100, (entry) => {
      if (++times < 3) line.add(entry)
    })
    line.add(new Named('a'))
    await clock.advance(250)
    expect(times).toBe(2)
    await clock.advance(1_000)
    expect(times).toBe(3)
  })

  it('goes on after a callback that threw', async () => {
    const clock = fakeClock()
    const due: string[] = []
    const line = timeline<Named>(clock, 100, ({ name }) => {
      due.push(name)
      if (name === 'bad') throw new Error('a bug')
    })
    line.add(new Named('bad'))
    line.add(new Named('good'))
    await expect(clock.advance(100)).rejects.toThrow('a bug')
    await clock.advance(100)
    expect(due).toEqual(['bad', 'good'])
  })

  it('keeps one timer for all, and none that holds a process', () => {
    const clock = fakeClock()
    let timers = 0
    const counting = {
      ...clock,
      after: (ms: number, callback: () => void, idle?: boolean) => {
        timers++
        return clock.after(ms, callback, idle)
      },
    }
    const line = timeline<Named>(counting, 100, () => {})
    for (let each = 0; each < 1_000; each++) line.add(new Named('a'))
    expect(timers).toBe(1)
    expect(clock.waiting).toBe(0)
  })

  it('calls exactly what is due, in the order in which it falls due, whatever comes and goes', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('add' as const), backMs: fc.integer({ min: 0, max: 120 }) }),
      fc.record({ do: fc.constant('remove' as const), at: fc.nat() }),
      fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 60 }) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 50 }), async (steps) => {
        const clock = fakeClock()
        const due: number[] = []
        const line = timeline<Named>(clock, 100, ({ name }) => void due.push(Number(name)))
        const entries: { entry: Named; dueMs: number; removed: boolean }[] = []
        for (const each of steps) {
          if (each.do === 'add') {
            const entry = new Named(String(entries.length))
            const fromMs = clock.now() - each.backMs
            entries.push({ entry, dueMs: fromMs + 100, removed: false })
            line.add(entry, fromMs)
          } else if (each.do === 'wait') await clock.advance(each.ms)
          else {
            const one = entries[each.at % Math.max(1, entries.length)]
            if (one !== undefined && !due.includes(Number(one.entry.name))) {
              line.remove(one.entry)
              one.removed = true
            }
          }
          // A timer takes a ms at least, so what was overdue when it came may be late by one.
          for (const [index, { dueMs, removed }] of entries.entries()) {
            if (due.includes(index)) expect(clock.now()).toBeGreaterThanOrEqual(dueMs)
            else if (!removed && each.do === 'wait') expect(dueMs).toBeGreaterThanOrEqual(clock.now() - 1)
            if (removed) expect(due).not.toContain(index)
          }
        }
        await clock.advance(200)
        const expected = entries.flatMap(({ removed }, index) => (removed ? [] : [index]))
        expect([...due].sort((a, b) => a - b)).toEqual(expected)
      }),
      { numRuns: 60 },
    )
  })
})
