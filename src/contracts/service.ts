import { checkArgument, checkOptions, having, list, required, text } from '../core/options.ts'
import type { Contract } from './contract.ts'

/** A contract that a service handles, and what there is to know about it. */
export interface Consumes {
  readonly contract: Contract
  /** What cannot be taken back when the event is handled: `'charges the card'`. */
  readonly sideEffects?: string
  /** The handler is wrong if events of one subject come out of order. */
  readonly needsOrder?: boolean
}

export interface ServiceOptions {
  readonly owner: string
  readonly does: string
  readonly publishes: readonly Contract[]
  readonly consumes: readonly (Contract | Consumes)[]
}

/** What a service says of itself: which events it publishes, and which it handles. */
export interface Service {
  readonly name: string
  readonly owner: string
  readonly does: string
  readonly publishes: readonly Contract[]
  readonly consumes: readonly Consumes[]
}

const contractKind = having('message', 'decode', 'jsonSchema')

/** @throws HoldfastError (`bad-option`) */
export function service(name: string, options: ServiceOptions): Service {
  checkArgument('service', 'name', name, text)
  const where = `service '${name.slice(0, 80)}'`
  const { consumes, ...rest } = checkOptions(where, options, {
    owner: required(text),
    does: required(text),
    publishes: required(list),
    consumes: required(list),
  })
  const handled = consumes.map((each): Consumes => ('contract' in each ? each : { contract: each }))
  for (const [at, each] of rest.publishes.entries()) checkArgument(where, `publishes[${at}]`, each, contractKind)
  for (const [at, { contract }] of handled.entries()) checkArgument(where, `consumes[${at}]`, contract, contractKind)
  return { name, ...rest, consumes: handled }
}

/** All contracts of some services, once each, by type. */
export function contractsOf(services: readonly Service[]): readonly Contract[] {
  const all = services.flatMap(({ publishes, consumes }) => [...publishes, ...consumes.map(({ contract }) => contract)])
  return [...new Map(all.map((each) => [each.type, each])).values()].sort((a, b) => (a.type < b.type ? -1 : 1))
}

export function publishersOf({ type }: Contract, services: readonly Service[]): readonly Service[] {
  return services.filter(({ publishes }) => publishes.some((each) => each.type === type))
}

export function consumersOf({ type }: Contract, services: readonly Service[]): readonly Service[] {
  return services.filter(({ consumes }) => consumes.some(({ contract }) => contract.type === type))
}
