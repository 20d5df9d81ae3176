import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { CircuitAnswer, CircuitExchange, CircuitRegister, Circuits, CircuitSight } from '../../src/retry/store.ts'

/** Windows and leases, so long that a busy store answers in time. */
export interface Pace {
  readonly openMs: number
  readonly leaseMs: number
}
const unseen: CircuitSight = { vote: 'none', bad: 0, badAgeMs: null, answerAgeMs: null }
const works: CircuitSight = { ...unseen, vote: 'works', answerAgeMs: 5 }
const isOpen: CircuitSight = { vote: 'open', bad: 10, badAgeMs: 5, answerAgeMs: null }

export interface CircuitsUnderTest {
  /** @defaultValue windows of 60 ms and leases of 120 ms */
  readonly pace?: Pace
  readonly circuits: Circuits
  /** Loses all that the store knows. */
  lose(circuit: string): Promise<void>
}

/** A process that knows what it was told last. */
class Owner {
  known: CircuitRegister = { state: 'closed', epoch: 0, leftMs: 0 }
  readonly #circuits: Circuits
  readonly #circuit: string
  readonly #name: string
  readonly #pace: Pace

  constructor(circuits: Circuits, circuit: string, name: string, pace: Pace) {
    this.#pace = pace
    this.#circuits = circuits
    this.#circuit = circuit
    this.#name = name
  }

  async tell(sight: CircuitSight, more: Partial<CircuitExchange> = {}): Promise<CircuitAnswer> {
    const { openMs, leaseMs } = this.#pace
    const rules = { openAfter: 10, openMs, maxOpenMs: openMs * 3.3, leaseMs }
    const answer = await this.#circuits.exchange(this.#circuit, {
      ...{ do: 'report', owner: this.#name, known: this.known, sight, rules },
      ...more,
    })
    this.known = answer
    return answer
  }

  ask = (): Promise<CircuitAnswer> => this.tell(isOpen, { do: 'ask' })
  settle = (result: 'answered' | 'failed' | 'nothing', known = this.known): Promise<CircuitAnswer> =>
    this.tell(result === 'answered' ? works : isOpen, { do: 'settle', result, known })
}

type Bench = ((count: number) => readonly Owner[]) & Pace

export interface CircuitsCase {
  readonly name: string
  run(owners: Bench, lose: () => Promise<void>): Promise<void>
}

/** Opens a circuit for two owners, and waits until its window is due. */
async function due(owners: readonly Owner[], { openMs }: Pace): Promise<void> {
  for (const owner of owners) await owner.tell(isOpen)
  await sleep(openMs + 15)
}

export const circuitsCases: readonly CircuitsCase[] = [
  {
    name: 'is closed at first, and stays so while everybody says that it works',
    async run(owners) {
      for (const owner of owners(3)) expect(await owner.tell(works)).toMatchObject({ state: 'closed', granted: false })
    },
  },
  {
    name: 'F-10: does not open by one process of three, and does by two of three',
    async run(owners) {
      const [a, b, c] = owners(3) as [Owner, Owner, Owner]
      await b.tell(works)
      expect(await a.tell({ ...isOpen, badAgeMs: 500 })).toMatchObject({ state: 'closed' })
      await c.tell(works)
      // What it saw before their answers adds up to nothing.
      expect(await a.tell({ ...isOpen, badAgeMs: 500 })).toMatchObject({ state: 'closed' })
      expect(await b.tell({ ...isOpen, badAgeMs: 500 })).toMatchObject({ state: 'open' })
      expect((await c.tell(works)).epoch).toBeGreaterThan(0)
    },
  },
  {
    name: 'opens by one process where nobody says that it works',
    async run(owners) {
      const [a] = owners(1) as [Owner]
      expect(await a.tell({ ...isOpen, bad: 3 })).toMatchObject({ state: 'open' })
    },
  },
  {
    name: 'opens where the failures of all since the last answer of anybody add up to openAfter',
    async run(owners) {
      const all = owners(4)
      for (const owner of all.slice(0, 3))
        expect(await owner.tell({ ...works, bad: 3, badAgeMs: 1, answerAgeMs: 900 })).toMatchObject({ state: 'closed' })
      expect(await all[3]?.tell({ ...works, bad: 1, badAgeMs: 1, answerAgeMs: 900 })).toMatchObject({ state: 'open' })
    },
  },
  {
    name: 'F-9: what is told twice counts once',
    async run(owners) {
      const [a] = owners(1) as [Owner]
      for (let time = 0; time < 5; time++)
        expect(await a.tell({ ...works, bad: 3, badAgeMs: 1, answerAgeMs: 900 })).toMatchObject({ state: 'closed' })
    },
  },
  {
    name: 'grants nothing before the window is due, and then one probe of many that ask, under a new epoch',
    async run(owners) {
      const all = owners(8)
      await all[0]?.tell(isOpen)
      expect((await Promise.all(all.map((owner) => owner.ask()))).map(({ granted }) => granted)).not.toContain(true)
      await sleep(owners.openMs + 15)
      const before = Math.max(...all.map(({ known }) => known.epoch))
      const answers = await Promise.all(all.map((owner) => owner.ask()))
      const granted = answers.filter((answer) => answer.granted)
      expect(granted).toHaveLength(1)
      expect(granted[0]).toMatchObject({ state: 'half-open' })
      expect(granted[0]?.epoch).toBeGreaterThan(before)
    },
  },
  {
    name: 'closes for all when the probe was answered, under a new epoch',
    async run(owners) {
      const [a, b] = owners(2) as [Owner, Owner]
      await due([a, b], owners)
      const { epoch } = await a.ask()
      const closed = await a.settle('answered')
      expect(closed.state).toBe('closed')
      expect(closed.epoch).toBeGreaterThan(epoch)
      expect(await b.tell(works)).toMatchObject({ state: 'closed', epoch: closed.epoch })
    },
  },
  {
    name: 'counts no vote from before it closed',
    async run(owners) {
      const [a, b] = owners(2) as [Owner, Owner]
      await due([a, b], owners)
      await a.ask()
      await a.settle('answered')
      await sleep(5)
      expect(await a.tell({ ...works, bad: 1, badAgeMs: 0 })).toMatchObject({ state: 'closed' })
    },
  },
  {
    name: 'stays open for half as long again when the probe failed, and grants the next one then',
    async run(owners) {
      const [a, b] = owners(2) as [Owner, Owner]
      await due([a, b], owners)
      await a.ask()
      const failed = await a.settle('failed')
      expect(failed.state).toBe('open')
      expect(failed.leftMs).toBeGreaterThan(owners.openMs)
      expect(await b.ask()).toMatchObject({ granted: false })
      await sleep(failed.leftMs + 15)
      expect(await b.ask()).toMatchObject({ granted: true })
    },
  },
  {
    name: 'grants the next probe at once where one proved nothing',
    async run(owners) {
      const [a, b] = owners(2) as [Owner, Owner]
      await due([a, b], owners)
      await a.ask()
      await a.settle('nothing')
      expect(await b.ask()).toMatchObject({ granted: true })
    },
  },
  {
    name: 'F-7: a probe whose lease lapsed settles nothing, and its window is over: the next waits for the next one',
    async run(owners) {
      const [a, b] = owners(2) as [Owner, Owner]
      await due([a, b], owners)
      const grant = await a.ask()
      await sleep(owners.leaseMs + 15)
      const next = await b.ask()
      expect(next).toMatchObject({ state: 'open', granted: false })
      expect(next.leftMs).toBeGreaterThan(0)
      expect(await a.settle('answered', grant)).toMatchObject({ state: 'open' })
      await sleep(next.leftMs + 15)
      expect(await b.ask()).toMatchObject({ granted: true })
    },
  },
  {
    name: 'a failed probe is settled by its own process alone',
    async run(owners) {
      const [a, b] = owners(2) as [Owner, Owner]
      await due([a, b], owners)
      const grant = await a.ask()
      expect(await b.settle('failed', grant)).toMatchObject({ state: 'half-open' })
    },
  },
  {
    name: 'F-8: a store that lost its data takes over the highest epoch that it is told, and gives none twice',
    async run(owners, lose) {
      const [a, b] = owners(2) as [Owner, Owner]
      const epochs = new Set<number>()
      await due([a, b], owners)
      for (let time = 0; time < 5; time++) {
        const { granted, epoch } = await a.ask()
        if (granted) {
          expect(epochs.has(epoch)).toBe(false)
          epochs.add(epoch)
        }
        await lose()
        const before = a.known.epoch
        const told = await a.tell(unseen)
        expect(told.epoch).toBeGreaterThanOrEqual(before)
        expect(told.state).not.toBe('closed')
        await sleep(told.leftMs + 15)
      }
      expect(epochs.size).toBeGreaterThan(1)
    },
  },
]

/** Runs a case with a circuit of its own. */
export async function runCircuitsCase(
  { run }: CircuitsCase,
  { circuits, lose, pace = { openMs: 60, leaseMs: 120 } }: CircuitsUnderTest,
  circuit: string,
): Promise<void> {
  const make = (count: number): readonly Owner[] =>
    Array.from({ length: count }, (_, n) => new Owner(circuits, circuit, `p${n}`, pace))
  await run(Object.assign(make, pace), () => lose(circuit))
}
