import { badOption } from '../core/options.ts'

const known = new WeakMap<object, Map<string, string>>()

/** Two limits of one name in one store would each count by its own terms. What processes cannot see, one process can. */
export function requireSameTerms(
  where: string,
  share: object,
  name: string,
  terms: Readonly<Record<string, number>>,
): void {
  const own = known.get(share) ?? new Map<string, string>()
  known.set(share, own)
  const said = JSON.stringify(terms)
  const before = own.get(`${where} ${name}`)
  if (before !== undefined && before !== said)
    throw badOption(where, 'name', `another one than that of a ${where} with ${before}, which has the same share`, name)
  own.set(`${where} ${name}`, said)
}
