import type { Size } from './state.ts'

/** A fault in the protocol, and how much of the world it takes to see it. */
export interface Plant {
  readonly does: string
  readonly size?: Partial<Size>
}

const alone = { consumers: 1, crashes: 0 } as const
const blocking = { whenDead: 'block-key', deaths: 1, waits: 0, crashes: 0 } as const

export const plants = {
  'free-without-tail': { does: 'P-1: a lane ends because it was read as empty, whatever came meanwhile', size: alone },
  'park-without-lock': {
    does: 'P-3: parking finds the lane there, does not lock it, and adds its row later',
    size: { ...alone, deaths: 1, acts: 1 },
  },
  'append-apart': { does: 'P-5: the look at the lane and the append are two steps', size: alone },
  'stale-set': {
    does: 'P-4: a process believes its own set of parked keys, also after a rebalance',
    size: { crashes: 0 },
  },
  'claim-unchecked': { does: 'a claim does not ask whether the lane is parked', size: { crashes: 0 } },
  'worker-unfenced': {
    does: 'P-11: a worker goes on after it lost its lane, and completes without its claim',
    size: { ...alone, log: [1], workers: 2 },
  },
  'append-known-dead': {
    does: 'P-14: a dead head that is appended again is answered as known',
    size: { ...blocking, acts: 1 },
  },
  'append-unfenced': {
    does: 'P-15: the append fences no lapsed claim out, and the cleaner does not skip what is parked',
    size: { crashes: 0, deaths: 1, acts: 1, cleanups: 1, waits: 0 },
  },
  'run-past-claim': {
    does: 'P-23: of a run that is appended at once, the rest goes past a message that its claim has to answer',
    size: { log: [1, 2, 3], crashes: 0, deaths: 1, acts: 1, waits: 0 },
  },
  'remove-by-place': {
    does: 'P-7: the head is removed by its place, and lanes count their places from 1 again',
    size: { ...alone, workers: 2, waits: 2 },
  },
  'drop-without-wake': {
    does: 'P-19: an operator drops the head that blocks, and nobody wakes its lane',
    size: { ...blocking, consumers: 1, acts: 1 },
  },
  'dead-not-parked': {
    does: 'P-21: a dead message is not parked, and its followers pass it',
    size: { ...blocking, consumers: 1, acts: 1 },
  },
  'redrive-next-to-lane': {
    does: 'P-21: a blocked head that is sent again leaves its lane, which goes on without it',
    size: { ...blocking, consumers: 1, acts: 1 },
  },
} as const satisfies Readonly<Record<string, Plant>>

export type PlantName = keyof typeof plants

export function isPlant(name: string): name is PlantName {
  return Object.hasOwn(plants, name)
}
