import { nameOf } from './process.ts'
import { scopes, type Scope } from './scope.ts'
import { ConnectionLostError } from './task.ts'

/**
 * Takes a real client into the simulation: a `pg.Pool`, or an ioredis client. Inside a delivery, every call really goes
 * out, and everybody else and virtual time stand still until it is answered; one that waits for somebody's lock lets the
 * others go on. Outside of a delivery nothing changes. Leases on the server's own clock do not follow virtual time.
 */
export function simulate<Client extends object>(client: Client): Client {
  return new Proxy(client, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function' || typeof name !== 'string' || untouched.has(name)) return bound(member, target)
      return (...args: unknown[]): unknown => {
        const scope = scopes.getStore()
        const callsBack = args.some((arg) => typeof arg === 'function')
        if (scope === undefined || callsBack) return Reflect.apply(member, target, args)
        if (collectors.has(name)) return collecting(scope, Reflect.apply(member, target, args))
        const call = async (): Promise<unknown> => (await Reflect.apply(member, target, args)) as unknown
        if (name === 'connect' && 'query' in target) return lend(scope, call)
        return really(scope, labelOf(name, args, scope), call, 'query' in target ? lockPatienceMs : answerPatienceMs)
      }
    },
  })
}

// They say or set something at once, and travel nowhere.
const untouched = new Set([
  'on',
  'once',
  'off',
  'emit',
  'addListener',
  'removeListener',
  'release',
  'duplicate',
  'then',
])

// They collect commands at once; what travels is `exec()`.
const collectors = new Set(['multi', 'pipeline'])

function collecting(scope: Scope, chain: unknown): unknown {
  if (typeof chain !== 'object' || chain === null) return chain
  const proxy: object = new Proxy(chain, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      return (...args: unknown[]): unknown => {
        const call = (): unknown => Reflect.apply(member, target, args)
        if (name === 'exec') return really(scope, labelOf(name, args, scope), async () => call(), answerPatienceMs)
        const answer = call()
        return answer === target ? proxy : answer
      }
    },
  })
  return proxy
}

/** A statement that takes longer waits for somebody's lock. */
const lockPatienceMs = 40
/** Redis knows no locks: a call that takes long is on a slow machine, and letting others go first would be another schedule. */
const answerPatienceMs = 5_000

function really<T>(
  { simulation, process }: Scope,
  name: string,
  call: () => Promise<T>,
  patienceMs = lockPatienceMs,
): Promise<T> {
  return simulation.op(process, name, call, { patienceMs })
}

/** A client of a pool, which goes with its process when that dies: the server then rolls back. */
async function lend(scope: Scope, connect: () => Promise<unknown>): Promise<unknown> {
  const { process, simulation } = scope
  let release = (_error?: unknown): void => {}
  const client = await really(scope, 'connect', async () => {
    const lent = await connect()
    if (typeof lent !== 'object' || lent === null) return lent
    const destroy = (): void => release(new ConnectionLostError(`${nameOf(process)} is gone`))
    release = (error) => {
      release = () => {}
      process.resources.delete(destroy)
      Reflect.apply(methodOf(lent, 'release'), lent, [error])
    }
    // From here on, not from when the answer arrives: it may never.
    process.resources.add(destroy)
    return lent
  })
  if (typeof client !== 'object' || client === null) return client
  let changed: string[] = []
  return new Proxy(client, {
    get(target, name) {
      if (name === 'release') return (error?: unknown) => release(error)
      const member: unknown = Reflect.get(target, name)
      if (name !== 'query') return bound(member, target)
      return async (...args: unknown[]): Promise<unknown> => {
        const here = scopes.getStore() ?? scope
        const text = textOf(args)
        const command = commandOf(text)
        return really(here, labelOf('query', args, here), async () => {
          const answer: unknown = await Reflect.apply(methodOf(target, 'query'), target, args)
          if (command === 'BEGIN') changed = []
          else if (changes.has(command)) changed.push(text)
          else if (command === 'COMMIT' && tagOf(answer) === 'COMMIT')
            simulation.committed(process, here.messageId, changed.filter(isEffect))
          return answer
        })
      }
    },
  })
}

const changes = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'CALL'])

/** What our own tables say is no effect of the handler. */
function isEffect(text: string): boolean {
  return !/\bidempotency\b/.test(text)
}

function labelOf(method: string, args: readonly unknown[], { messageId }: Scope): string {
  const text = method === 'query' ? textOf(args) : ''
  const what = text === '' ? method : text.trim().split(/\s+/).slice(0, 3).join(' ')
  return messageId === '' ? what : `${what} ${messageId}`
}

function textOf([first]: readonly unknown[]): string {
  if (typeof first === 'string') return first
  const text: unknown = typeof first === 'object' && first !== null ? Reflect.get(first, 'text') : ''
  return typeof text === 'string' ? text : ''
}

function commandOf(text: string): string {
  return text.trim().split(/\s/, 1)[0]?.toUpperCase() ?? ''
}

function tagOf(answer: unknown): unknown {
  return typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'command') : undefined
}

function methodOf(target: object, name: string): (...args: unknown[]) => unknown {
  const member: unknown = Reflect.get(target, name)
  if (typeof member !== 'function') throw new TypeError(`the client has no ${name}()`)
  return (...args) => Reflect.apply(member, target, args) as unknown
}

function bound(member: unknown, target: object): unknown {
  return typeof member === 'function' ? (...args: unknown[]): unknown => Reflect.apply(member, target, args) : member
}
