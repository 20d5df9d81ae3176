import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { allFaults } from '../../src/testing/world/faults.ts'
import { dice, fromLine, toLine, type Deviation } from '../../src/testing/explorer/schedule.ts'

describe('the line of a schedule', () => {
  const label = fc.stringMatching(/^[A-F]′?\.[a-z]+ m[1-9](#[1-9])?⏎?$/)
  const deviation: fc.Arbitrary<Deviation> = fc.oneof(
    fc.record({ at: label, do: fc.constantFrom(...allFaults) }),
    fc.record({ at: label, do: fc.constantFrom(...allFaults), ms: fc.integer({ min: -99_999, max: 99_999 }) }),
    fc.record({ at: label, do: fc.constant('pause' as const), ms: fc.nat(), steps: fc.nat() }),
    fc.record({ at: label, do: fc.constant('hold' as const), steps: fc.nat() }),
    fc.record({ at: label, do: fc.constant('run' as const), then: label }),
  )

  it('says everything that the schedule says', () => {
    const size = fc.record({ messages: fc.nat(), consumers: fc.nat(), partitions: fc.nat() })
    fc.assert(
      fc.property(fc.record({ size, deviations: fc.array(deviation) }), (schedule) => {
        expect(fromLine(toLine(schedule))).toEqual(schedule)
      }),
    )
  })

  it('is refused with what was wrong in it', () => {
    expect(() => fromLine('crash A')).toThrow(
      `explore: replay must be a line such as "m1 c1 p1; crash A.charge m1", got 'crash A'`,
    )
    expect(() => fromLine('m1 c1 p1; explode A.charge m1')).toThrow(
      /^explore: replay must be made of known faults \(crash, .*\), got 'explode A.charge m1'$/,
    )
  })
})

it('throws dice that fall the same on every machine', () => {
  const roll = dice(7)
  expect([roll(), roll(), roll()].map((value) => Math.floor(value * 1e9))).toMatchInlineSnapshot(`
    [
      893695654,
      980390453,
      186605627,
    ]
  `)
})
