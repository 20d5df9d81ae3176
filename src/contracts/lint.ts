import type { Contract } from './contract.ts'
import { cyclesIn, edgesOf } from './graph.ts'
import { consumersOf, contractsOf, publishersOf, type Service } from './service.ts'

export interface Finding {
  readonly level: 'error' | 'warning'
  readonly rule: string
  /** The event, or the services. */
  readonly at: string
  readonly says: string
}

type Say = (level: Finding['level'], rule: string, says: string) => void

/** Looks for what goes wrong between services that tell each other events, as far as contracts show it. */
export function lintContracts(services: readonly Service[], today: Date = new Date()): readonly Finding[] {
  const found: Finding[] = []
  for (const contract of contractsOf(services)) {
    const say: Say = (level, rule, says) => {
      if (contract.about.accepts[rule] === undefined) found.push({ level, rule, at: contract.type, says })
    }
    lintWords(contract, say)
    lintSchema(contract, say)
    lintPlace(contract, services, today, say)
  }
  for (const service of services) found.push(...lintConsumer(service))
  for (const cycle of cyclesIn(edgesOf(services)))
    found.push({
      level: cycle.length === 1 ? 'error' : 'warning',
      ...{
        rule: 'cycle',
        at: cycle.join(' → '),
        says: 'they tell each other in a circle: what ends it? flow() stops it',
      },
    })
  return found
}

const generic = new Set(
  `action change changed crud data entity event events generic info item message misc notification object payload process
  processed record status sync update updated`.split(/\s+/),
)

function lintWords({ type, about: { why } }: Contract, say: Say): void {
  const words = type
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
  if (words.length < 2 || generic.has(words.at(-1) ?? ''))
    say('error', 'generic-name', 'the name does not say what happened: customer.moved rather than customer.updated')
  if (why.trim().split(/\s+/).length < 4)
    say('error', 'no-reason', '`why` does not say what happened and who needs to know')
}

const flagName =
  /^(is|has|should|skip|with|no|dont|disable|enable|force|mode|action|operation|op|kind|event_?type|type|flags?|command)([A-Z_]|$)/

function lintSchema(contract: Contract, say: Say): void {
  const schema = contract.jsonSchema()
  if (schema === null)
    return say(
      'warning',
      'no-schema',
      'its library gives no JSON Schema: the catalogue and the compatibility check see nothing',
    )
  const properties = Object.entries(
    (schema['properties'] ?? {}) as Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  )
  const required = (schema['required'] ?? []) as readonly string[]
  const flags = properties.filter(
    ([name, { type, enum: values }]) => flagName.test(name) && (type === 'boolean' || values !== undefined),
  )
  if (flags.length > 0)
    say(
      'warning',
      'flag',
      `${flags.map(([name]) => name).join(', ')} may change what the event means: make an event for each meaning`,
    )
  const optional = properties.filter(([name]) => !required.includes(name)).length
  if (properties.length >= 4 && optional > 0.7 * properties.length)
    say('warning', 'loose', `${optional} of ${properties.length} properties may be missing: readers cannot rely on any`)
}

function lintPlace(contract: Contract, services: readonly Service[], today: Date, say: Say): void {
  const publishers = publishersOf(contract, services)
  if (publishers.length === 0) say('warning', 'no-publisher', 'it is handled, and no service here publishes it')
  if (publishers.length > 1)
    say('warning', 'shared', `${publishers.map(({ name }) => name).join(' and ')} publish it: who answers for it?`)
  if (consumersOf(contract, services).length === 0) say('warning', 'no-consumer', 'no service here handles it')
  const until = contract.about.deprecated?.until
  if (until !== undefined && until < today.toISOString().slice(0, 10))
    say('error', 'overdue', `it was to end on ${until}`)
}

function lintConsumer({ name, consumes }: Service): readonly Finding[] {
  return consumes.flatMap(({ contract: { type, about }, sideEffects, needsOrder }): Finding[] => {
    const at = `${name} ← ${type}`
    const accepted = (rule: string): boolean => about.accepts[rule] !== undefined
    return [
      ...(sideEffects !== undefined && !accepted('side-effects')
        ? [
            {
              level: 'warning',
              rule: 'side-effects',
              at,
              says: `${sideEffects}: put it into sideEffect(), or a replay repeats it`,
            } as const,
          ]
        : []),
      ...(needsOrder === true && !about.keyed && !accepted('order')
        ? [{ level: 'error', rule: 'order', at, says: 'the service needs order, and the contract has no key' } as const]
        : []),
    ]
  })
}
