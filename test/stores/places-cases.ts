import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Limits } from '../../src/retry/store.ts'

type Hold = (owner: string, held: number, want: number, max: number) => Promise<number>

export interface PlacesCase {
  readonly name: string
  /** `hold(owner, held, want, max)`, of a group of the case's own. */
  run(hold: Hold, leaseMs: number): Promise<void>
}

export const placesCases: readonly PlacesCase[] = [
  {
    name: 'gives what is wanted while there is enough, and no more than there is',
    async run(hold) {
      expect(await hold('a', 0, 3, 8)).toBe(3)
      expect(await hold('b', 0, 4, 8)).toBe(4)
      expect(await hold('c', 0, 4, 8)).toBe(1)
    },
  },
  {
    name: 'comes to a max-min fair share: who wants little gets it, the others divide what is left',
    async run(hold) {
      const owners = ['a', 'b', 'c']
      const want: Record<string, number> = { a: 30, b: 30, c: 2 }
      const held: Record<string, number> = {}
      for (let round = 0; round < 3; round++)
        for (const owner of owners) held[owner] = await hold(owner, held[owner] ?? 0, want[owner] ?? 0, 20)
      expect(held).toEqual({ a: 9, b: 9, c: 2 })
    },
  },
  {
    name: 'what still runs keeps its place, so that the sum stays within the limit',
    async run(hold) {
      expect(await hold('a', 0, 10, 10)).toBe(10)
      expect(await hold('b', 0, 10, 10)).toBe(0)
      // Of ten that run, five are to end; until then nobody else gets their places.
      expect(await hold('a', 10, 10, 10)).toBe(5)
      expect(await hold('b', 0, 10, 10)).toBe(0)
      expect(await hold('a', 7, 10, 10)).toBe(5)
      expect(await hold('b', 0, 10, 10)).toBe(3)
    },
  },
  {
    name: 'goes round among more processes than places: each gets one within as many leases as there are processes',
    async run(hold, leaseMs) {
      const owners = ['a', 'b', 'c']
      const served = new Set<string>()
      for (let round = 0; round < 60 && served.size < 3; round++) {
        for (const owner of owners) if ((await hold(owner, 0, 5, 1)) > 0) served.add(owner)
        await sleep(leaseMs / 5)
      }
      expect([...served].toSorted()).toEqual(owners)
    },
  },
  {
    name: 'gives places back with a want of 0, and those of a dead process once its lease is over',
    async run(hold, leaseMs) {
      expect(await hold('a', 0, 4, 4)).toBe(4)
      expect(await hold('a', 0, 0, 4)).toBe(0)
      expect(await hold('b', 0, 4, 4)).toBe(4)
      expect(await hold('c', 0, 4, 4)).toBe(0)
      await sleep(leaseMs + 20)
      expect(await hold('c', 0, 4, 4)).toBe(4)
    },
  },
  {
    name: 'counts work whose lease lapsed, as far as there is room',
    async run(hold, leaseMs) {
      expect(await hold('a', 0, 4, 4)).toBe(4)
      await sleep(leaseMs + 20)
      // It runs on; nobody else has asked meanwhile.
      expect(await hold('a', 4, 4, 4)).toBe(4)
      expect(await hold('b', 0, 4, 4)).toBe(0)
    },
  },
  {
    name: 'never hands out more than the limit to many that ask at once',
    async run(hold) {
      const granted = await Promise.all(Array.from({ length: 40 }, (_, n) => hold(`p${n}`, 0, 3, 20)))
      expect(granted.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(20)
      expect(Math.max(...granted)).toBeGreaterThan(0)
    },
  },
]

export async function runPlacesCase({ run }: PlacesCase, limits: Limits, group: string, leaseMs = 300): Promise<void> {
  await run(async (owner, held, want, max) => {
    const granted = await limits.hold?.(group, { owner, held, want, max, leaseMs })
    return granted ?? expect.fail('it hands out no places')
  }, leaseMs)
}
