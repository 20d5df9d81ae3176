import { HoldfastError } from '../core/errors.ts'
import { badOption, type Kind } from '../core/options.ts'

/**
 * Clients as people mix them up. Nothing is imported for it: each is told by what only it has.
 * The order matters, since some have what others have too.
 */
const clients: readonly (readonly [name: string, is: (client: object) => boolean])[] = [
  ['a client of node-redis', (client) => has(client, 'evalSha', 'sendCommand')],
  ['a client of ioredis', (client) => has(client, 'evalsha', 'info')],
  ['a pool of pg', (client) => has(client, 'connect', 'query') && 'totalCount' in client],
  ['a single client of pg', (client) => has(client, 'connect', 'query') && 'processID' in client],
  ['the sql of postgres.js', (client) => has(client, 'unsafe', 'begin')],
  ['a transaction of postgres.js', (client) => has(client, 'unsafe', 'savepoint')],
  ['Knex', (client) => has(client, 'raw', 'transaction') && typeof client === 'function'],
  ['Kysely', (client) => has(client, 'selectFrom', 'executeQuery')],
  ['Prisma', (client) => has(client, '$queryRawUnsafe')],
  ['Drizzle', (client) => has(client, 'execute', 'select')],
  ['a DataSource of TypeORM', (client) => has(client, 'createQueryRunner')],
]

/** The name of the client library that a value comes from, or `undefined`. */
export function clientName(value: unknown): string | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  try {
    return clients.find(([, is]) => is(value))?.[0]
  } catch {
    return undefined
  }
}

/**
 * Refuses the wrong client by its name: `got a client of node-redis`.
 * `not` names clients that have the right methods and would do the wrong thing; `instead` says what to give.
 */
export function checkClient(
  where: string,
  name: string,
  client: unknown,
  kind: Kind,
  {
    not = [],
    instead = {},
  }: { readonly not?: readonly string[]; readonly instead?: Readonly<Record<string, string>> } = {},
): void {
  const known = clientName(client)
  if (kind.fits(client) && (known === undefined || !not.includes(known))) return
  if (known === undefined) throw badOption(where, name, kind.wanted, client)
  const hint = instead[known]
  const more = hint === undefined ? '' : `: ${hint}`
  throw new HoldfastError('bad-option', `${where}: ${name} must be ${kind.wanted}, got ${known}${more}`)
}

function has(client: object, ...methods: readonly string[]): boolean {
  return methods.every((method) => typeof Reflect.get(client, method) === 'function')
}
