/** What is left of everything that happens rarely: the model explores every order of it, and so it must end. */
export interface Budget {
  crashes: number
  /** A lease that ends while its holder lives, or a rebalance while a message is handled. */
  lapses: number
  redeliveries: number
  redrives: number
  drops: number
  edits: number
  cleanUps: number
  reopens: number
}

/** The key in the idempotency store. `token` 0: nobody ever held it. */
export interface Key {
  state: 'none' | 'in-progress' | 'released' | 'failed' | 'completed'
  token: number
  generation: number
}

/** The dead letter. */
export interface Row {
  state: 'dead' | 'redriving' | 'resolved' | 'replaced' | 'dropped'
  generation: number
  settled: number
  redrives: number
}

/** The letter's item in a redrive, with the lease of its lane. */
export interface Item {
  over: boolean
  token: number
  generation: number
}

export type Place = 'got' | 'running' | 'failed' | 'burying' | 'resolving' | 'acking' | 'acking dead'

/** One attempt at the message, by a consumer or by a redrive worker. */
export interface Attempt {
  at: Place
  generation: number
  token: number
  /** Somebody else acked the copy that is handled here: the ack of it changes nothing. */
  copyIsGone: boolean
}

export interface Worker {
  at: 'idle' | 'leased' | 'sending' | 'resetting' | 'advancing'
  token: number
  item: number
  generation: number
  attempt: Attempt | null
}

/** One message, one dead letter, and everybody who works on them. */
export interface State {
  effects: number
  key: Key
  row: Row | null
  /** The fence: what tokens and generations are drawn from. */
  nextToken: number
  nextGeneration: number
  items: Item[]
  /** Copies that the broker has and that are not acked, by generation. 0 is the original. */
  copies: number[]
  consumers: (Attempt | null)[]
  workers: Worker[]
  /** Generations whose handler was started. */
  ran: boolean[]
  /** The effects when an operator dropped or edited the letter: there must never be more. -1: no decision. */
  effectsAtDecision: number
  decisionForgotten: boolean
  left: Budget
}

export function firstState(left: Budget): State {
  const worker = (): Worker => ({ at: 'idle', token: 0, item: 0, generation: 0, attempt: null })
  return {
    effects: 0,
    key: { state: 'failed', token: 0, generation: 0 },
    row: { state: 'dead', generation: 0, settled: 0, redrives: 0 },
    nextToken: 1,
    nextGeneration: 1,
    items: [],
    copies: [0],
    consumers: [null, null],
    workers: [worker(), worker()],
    ran: [false],
    effectsAtDecision: -1,
    decisionForgotten: false,
    left: { ...left },
  }
}

export function copyOf(state: State): State {
  return {
    ...state,
    key: { ...state.key },
    row: state.row === null ? null : { ...state.row },
    items: state.items.map((item) => ({ ...item })),
    copies: [...state.copies],
    consumers: state.consumers.map((each) => (each === null ? null : { ...each })),
    workers: state.workers.map((each) => ({ ...each, attempt: each.attempt === null ? null : { ...each.attempt } })),
    ran: [...state.ran],
    left: { ...state.left },
  }
}

/**
 * What makes it the same state: consumers may change places, and so may workers; tokens matter only by being equal, so that
 * they are numbered by where they stand.
 */
export function keyOf(state: State): string {
  const { effects, key, row, nextGeneration, items, copies, ran, effectsAtDecision, decisionForgotten, left } = state
  const names = new Map([[0, 0]])
  const name = (token: number): number => {
    const known = names.get(token)
    if (known !== undefined) return known
    names.set(token, names.size)
    return names.size - 1
  }
  const attempt = (of: Attempt | null): string =>
    of === null ? '-' : `${of.at}${of.generation}${of.copyIsGone ? 'g' : ''}`
  const worker = (of: Worker): string => `${of.at}${of.item}.${of.generation}${attempt(of.attempt)}`
  const named = (of: Attempt | null): string => (of === null ? '' : String(name(of.token)))
  const inOrder = <T>(all: readonly T[], text: (each: T) => string, tokens: (each: T) => string): string =>
    all
      .map((each) => [text(each), each] as const)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([own, each]) => `${own}.${tokens(each)}`)
      .join()
  return [
    effects,
    `${key.state}${name(key.token)}.${key.generation}`,
    row === null ? '-' : `${row.state}${row.generation}.${row.settled}.${row.redrives}`,
    nextGeneration,
    items.map((item) => `${item.over ? 'x' : 'o'}${name(item.token)}.${item.generation}`).join(),
    copies.join(),
    inOrder(state.consumers, attempt, named),
    inOrder(state.workers, worker, (of) => `${name(of.token)}.${named(of.attempt)}`),
    ran.map(Number).join(''),
    `${effectsAtDecision}${decisionForgotten ? 'f' : ''}`,
    Object.values(left).join(),
  ].join('|')
}
