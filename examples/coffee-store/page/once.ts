import { setTimeout as sleep } from 'node:timers/promises'
import type { LiveAudit } from './audit.ts'
import { slowMs } from './outside.ts'
import type { CoffeeStore } from './store.ts'
import { switchNames, type SwitchName } from './switches.ts'

/** What each switch showed while it was on: a count of its own kind, or ms. */
export type Shown = Readonly<Record<SwitchName, number>>

export interface Played {
  readonly orders: number
  readonly poison: number
  readonly clicks: number
  readonly shown: Shown
  readonly audit: LiveAudit
}

const ordersEach = 40
/** These only grow: what counts is what came while the switch was on. */
const adds: ReadonlySet<SwitchName> = new Set(['payments', 'twice', 'poison'])

/** Presses each switch while orders and clicks come in, puts it back, and closes the store. */
export async function playOnce(store: CoffeeStore): Promise<Played> {
  const shown = { payments: 0, stock: 0, twice: 0, poison: 0, database: 0, relay: 0 }
  await sell(store, ordersEach)
  for (const name of switchNames) {
    const before = await sightOf(store)
    await store.set(name, true)
    await sell(store, ordersEach)
    await sleep(name === 'payments' || name === 'database' ? 1_000 : 300)
    const during = await sightOf(store)
    shown[name] = adds.has(name) ? during[name] - before[name] : during[name]
    await store.set(name, false)
  }
  await sell(store, ordersEach)
  const audit = await store.close()
  const { figures } = await store.look()
  return { orders: figures.placed, poison: figures.poison, clicks: store.clicksSent, shown, audit }
}

/** Whether each switch did what it says. */
export function didAll(shown: Shown): boolean {
  return switchNames.every((name) => shown[name] >= (name === 'database' ? slowMs : 1))
}

async function sell(store: CoffeeStore, count: number): Promise<void> {
  for (let sold = 0; sold < count; sold += 4) {
    await store.order(4)
    for (let clicks = 0; clicks < 6; clicks++) await store.click()
    await sleep(25)
  }
}

async function sightOf(store: CoffeeStore): Promise<Record<SwitchName, number>> {
  const { services, circuitOpened } = store.tally
  const { figures, inOutbox } = await store.look()
  const all = Object.values(services)
  return {
    payments: circuitOpened,
    stock: figures.services.stock.waiting,
    twice: all.reduce((sum, { duplicates }) => sum + duplicates, 0),
    poison: figures.poison,
    database: Math.round(Math.max(...all.map(({ ms }) => ms))),
    relay: inOutbox,
  }
}
