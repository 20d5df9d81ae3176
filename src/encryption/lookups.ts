import type { KeyObject } from 'node:crypto'
import { Asked } from '../core/asked.ts'
import { having, ms, required, type Kinds } from '../core/options.ts'
import { Cache } from './cache.ts'
import { secretKey, type KeyProvider } from './keys.ts'
import { shown } from './sealed.ts'

export interface LookupTerms {
  readonly keyCacheMs: number
  readonly timeoutMs: number
}

interface LookupOptions extends Partial<LookupTerms> {
  readonly keys: KeyProvider
}

/** Of everything that asks for keys. */
export const lookupKinds: Kinds<LookupOptions> = {
  keys: required(having('current', 'byId')),
  keyCacheMs: ms(0),
  timeoutMs: ms(),
}

const provider = 'the key provider'

/** The key for new bodies about a subject, asked for once in a while. */
export function currentKeys(
  keys: KeyProvider,
  { keyCacheMs, timeoutMs }: LookupTerms,
): (about: string | null) => Promise<{ readonly id: string; readonly key: KeyObject }> {
  const cache = new Cache<{ readonly id: string; readonly key: KeyObject }>(keyCacheMs)
  const asked = new Asked(provider, timeoutMs)
  return (about) => {
    const name = about === null ? '' : `:${about}`
    return cache.get(name, async () => {
      const { id, key } = await asked.ask(name, (signal) => keys.current(about, { signal }))
      return { id, key: secretKey(`the key '${id}'`, key) }
    })
  }
}

/** What is known of a key. */
export type FoundKey = KeyObject | 'destroyed' | 'unknown'

/** A key by its id, asked for once in a while. What is not known is asked for again. */
export function keysById(
  keys: KeyProvider,
  { keyCacheMs, timeoutMs }: LookupTerms,
): (id: string) => FoundKey | Promise<FoundKey> {
  const cache = new Cache<FoundKey>(keyCacheMs)
  const asked = new Asked(provider, timeoutMs)
  return (id) => {
    const known = cache.known(id)
    if (known !== undefined) return known
    const ask = async (): Promise<FoundKey> => {
      const found = await asked.ask(id, (signal) => keys.byId(id, { signal }))
      return typeof found === 'string' ? found : secretKey(`the key '${shown(id)}'`, found)
    }
    return cache.get(id, ask, (answer) => answer !== 'unknown')
  }
}
