/** What can be broken on the page, and put back. */
export const switchNames = ['payments', 'stock', 'twice', 'poison', 'database', 'relay'] as const
export type SwitchName = (typeof switchNames)[number]

export interface SwitchText {
  readonly label: string
  /** What to look at while it is on. */
  readonly look: string
  readonly on: string
  readonly off: string
}

export const switchTexts: Readonly<Record<SwitchName, SwitchText>> = {
  payments: {
    label: 'Payment API down',
    look: 'its circuit opens, and payments wait',
    on: 'the payment API answers nobody',
    off: 'the payment API is back',
  },
  stock: {
    label: 'Kill stock',
    look: 'its messages wait for its restart',
    on: 'kill: the stock service is dead in the middle of its work',
    off: 'the stock service is started again, and takes up what was left',
  },
  twice: {
    label: 'Everything twice',
    look: 'duplicates are stopped',
    on: 'every message is sent twice from now on',
    off: 'every message is sent once again',
  },
  poison: {
    label: 'Poison',
    look: 'each garbled order is a dead letter of all four',
    on: 'every fifth order is cut-off JSON from now on',
    off: 'all orders are well formed again',
  },
  database: {
    label: 'Slow database',
    look: 'handling takes longer, and messages wait',
    on: 'each statement takes 400 ms longer',
    off: 'the database is fast again',
  },
  relay: {
    label: 'Pause the relay',
    look: 'orders wait in the outbox',
    on: 'the relay stops: orders wait in the outbox',
    off: 'the relay goes on with what waited',
  },
}

export class Switches {
  readonly #on = new Set<SwitchName>()

  isOn(name: SwitchName): boolean {
    return this.#on.has(name)
  }

  set(name: SwitchName, on: boolean): void {
    if (on) this.#on.add(name)
    else this.#on.delete(name)
  }
}

export function isSwitch(name: string): name is SwitchName {
  return (switchNames as readonly string[]).includes(name)
}
