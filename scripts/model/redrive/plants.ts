import type { Budget } from './state.ts'

export type Route = 'pipeline' | 'destination'

/** One mend taken out. The model finds what goes wrong then. */
export interface Plant {
  readonly does: string
  /** A word of the violation that it shows. */
  readonly violates: 'doubled' | 'bounced' | 'lost' | 'stuck' | 'it ran after'
  /** What it needs beyond the small size. */
  readonly needs?: Partial<Budget>
  /** @defaultValue `'destination'` */
  readonly route?: Route
  /** It needs more than a test has time for. */
  readonly large?: boolean
}

export const plants = {
  'forget-the-key': { does: 'the key is forgotten, and then the message is sent', violates: 'bounced' },
  'reset-then-send': {
    does: 'no generation: the failed key is reset, and then the message is sent',
    violates: 'bounced',
  },
  'send-then-reset': {
    does: 'no generation: the message is sent, and then the failed key is reset',
    violates: 'it ran after',
  },
  'reset-whatever-the-state': {
    does: 'no generation: the key is reset in whatever state it is',
    violates: 'bounced',
  },
  'reset-again-on-resume': {
    does: 'no generation: a lane that goes on resets the key once more',
    violates: 'it ran after',
  },
  'no-permission': { does: 'no generation, and nothing resets the key', violates: 'bounced' },
  'claim-equal': { does: 'an equal generation may claim a failed key too', violates: 'it ran after' },
  'delete-then-send': { does: 'the letter is deleted, and then the message is sent', violates: 'it ran after' },
  'send-then-delete': { does: 'the message is sent, and then the letter is deleted', violates: 'lost' },
  'death-without-guard': {
    does: 'a death counts whatever its generation is',
    violates: 'bounced',
  },
  'older-death-ends-newer': {
    does: 'a death of an older generation ends a newer redrive',
    violates: 'bounced',
    needs: { redrives: 2, cleanUps: 1 },
    route: 'pipeline',
    large: true,
  },
  'counted-generation': {
    does: 'the generation is counted on the row, and not drawn',
    violates: 'bounced',
    needs: { redrives: 2, cleanUps: 1 },
    route: 'pipeline',
    large: true,
  },
  'drop-blind': { does: 'a letter is dropped in whatever state it is', violates: 'it ran after' },
  'edit-blind': { does: 'a letter is edited in whatever state it is', violates: 'it ran after', needs: { edits: 1 } },
  'reopen-without-spending': {
    does: 'a letter is reopened, and the permission on its way stays',
    violates: 'it ran after',
    needs: { reopens: 1 },
  },
  'no-idempotency': { does: 'nobody claims a key', violates: 'it ran after' },
} as const satisfies Readonly<Record<string, Plant>>

export type PlantName = keyof typeof plants

export function isPlant(name: string): name is PlantName {
  return Object.hasOwn(plants, name)
}

/** The rules of one exploration: how letters are sent, and which mend is taken out. */
export class Rules {
  readonly route: Route
  readonly plant: PlantName | undefined

  constructor(route: Route, plant: PlantName | undefined) {
    this.route = route
    this.plant = plant
  }

  has(...names: readonly PlantName[]): boolean {
    return this.plant !== undefined && names.includes(this.plant)
  }

  /** Whether the permission to run again travels with the message. */
  get generations(): boolean {
    const without = ['forget-the-key', 'reset-then-send', 'send-then-reset', 'reset-whatever-the-state'] as const
    return !this.has(...without, 'reset-again-on-resume', 'no-permission')
  }
}
