import type { JsonSchema } from '../schema.ts'
import { same } from './schemas.ts'

export interface Unfit {
  readonly says: string
  /** False where the two cannot be compared, so that nobody knows. */
  readonly sure: boolean
}

const atLeast = ['minLength', 'minItems', 'minProperties']
const atMost = ['maxLength', 'maxItems', 'maxProperties']
/** Keywords that are compared as they are written. */
const asWritten =
  `pattern format multipleOf uniqueItems contains minContains maxContains propertyNames patternProperties
  prefixItems dependentRequired dependentSchemas unevaluatedProperties unevaluatedItems contentEncoding
  contentMediaType`.split(/\s+/)

/** The limits of the reader that values of the writer may exceed. */
export function exceeded(writer: JsonSchema, reader: JsonSchema): readonly Unfit[] {
  const found: Unfit[] = []
  const say = (says: string, sure = true): void => void found.push({ says, sure })
  const limit = (name: string, tighter: (wanted: number, given: number) => boolean): void => {
    const [given, wanted] = [writer[name], reader[name]]
    if (typeof wanted !== 'number') return
    if (typeof given !== 'number' || tighter(wanted, given))
      // A minimum of 0 is no limit.
      if (wanted > 0 || !atLeast.includes(name))
        say(`takes ${name} ${wanted}, gets ${name} ${typeof given === 'number' ? given : 'none'}`)
  }
  for (const name of atLeast) limit(name, (wanted, given) => wanted > given)
  for (const name of atMost) limit(name, (wanted, given) => wanted < given)
  const [given, wanted] = [rangeOf(writer), rangeOf(reader)]
  if (below(given.low, wanted.low)) say(`takes ${from(wanted.low)}, gets ${from(given.low)}`)
  if (below(negated(given.high), negated(wanted.high))) say(`takes ${to(wanted.high)}, gets ${to(given.high)}`)
  for (const name of asWritten)
    if (reader[name] !== undefined && !same(writer[name], reader[name]))
      say(`${name} differs: it cannot be compared`, false)
  return found
}

/** An end of a range: the number, and whether it belongs to the range. */
interface End {
  readonly at: number
  readonly included: boolean
}

function rangeOf(schema: JsonSchema): { readonly low: End; readonly high: End } {
  const number = (name: string, missing: number): number => {
    const found = schema[name]
    return typeof found === 'number' ? found : missing
  }
  const [min, above] = [number('minimum', -Infinity), number('exclusiveMinimum', -Infinity)]
  const [max, under] = [number('maximum', Infinity), number('exclusiveMaximum', Infinity)]
  return {
    low: above >= min && above > -Infinity ? { at: above, included: false } : { at: min, included: true },
    high: under <= max && under < Infinity ? { at: under, included: false } : { at: max, included: true },
  }
}

/** Whether a range that begins at `one` has values below one that begins at `other`. */
function below(one: End, other: End): boolean {
  return one.at < other.at || (one.at === other.at && one.included && !other.included)
}

const negated = ({ at, included }: End): End => ({ at: -at, included })
const from = ({ at, included }: End): string =>
  at === -Infinity ? 'any' : `${included ? 'at least' : 'more than'} ${at}`
const to = ({ at, included }: End): string => (at === Infinity ? 'any' : `${included ? 'at most' : 'less than'} ${at}`)
