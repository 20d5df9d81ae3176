import { HoldfastError } from '../../core/errors.ts'
import { fullName } from './client.ts'

export interface AdminOptions {
  readonly webUrl: string
  readonly token: string | (() => Promise<string> | string) | undefined
}

/** A ledger of a topic, and how many entries it has. */
export interface Ledger {
  readonly ledgerId: number
  readonly entries: number
}

export interface TopicState {
  /** In order. The last one is written now. */
  readonly ledgers: readonly Ledger[]
  /** The last entry that each subscription has done with all before it, as `ledger:entry`. */
  readonly marks: ReadonlyMap<string, string>
}

const timeoutMs = 10_000

interface InternalStats {
  readonly lastConfirmedEntry: string
  readonly ledgers: readonly { readonly ledgerId: number; readonly entries: number | null }[]
  readonly cursors: Readonly<Record<string, { readonly markDeletePosition: string }>>
}

interface Stats {
  readonly subscriptions: Readonly<Record<string, { readonly consumers?: readonly StatsConsumer[] }>>
}

interface StatsConsumer {
  readonly consumerName?: string
  readonly address?: string
}

/** What the web service of a broker tells of a topic without partitions, or of one partition. */
export class Admin {
  readonly #options: AdminOptions

  constructor(options: AdminOptions) {
    this.#options = options
  }

  async members(topic: string, subscription: string): Promise<readonly string[]> {
    const { subscriptions } = (await this.#get(topic, 'stats')) as Stats
    const consumers = subscriptions[subscription]?.consumers ?? []
    return consumers.map(({ consumerName = '', address = '' }) => `${consumerName} ${address}`.trim())
  }

  async state(topic: string): Promise<TopicState> {
    const { ledgers, lastConfirmedEntry, cursors } = (await this.#get(topic, 'internalStats')) as InternalStats
    const [lastLedger = -1, lastEntry = -1] = lastConfirmedEntry.split(':').map(Number)
    return {
      // The one that is written now has no count of its own yet.
      ledgers: ledgers.map(({ ledgerId, entries }) => ({
        ledgerId,
        entries: ledgerId === lastLedger ? lastEntry + 1 : (entries ?? 0),
      })),
      marks: new Map(Object.entries(cursors).map(([name, cursor]) => [name, cursor.markDeletePosition])),
    }
  }

  /** The first entry that was published at that time or later, or one near it at the end of the topic. */
  async entryAt(topic: string, timeMs: number): Promise<{ readonly ledgerId: number; readonly entryId: number }> {
    const found = await this.#get(topic, `messageid/${timeMs}`)
    return found as { readonly ledgerId: number; readonly entryId: number }
  }

  /** When an entry was published, in ms since 1970; nothing where there is no such entry. */
  async publishedMs(topic: string, ledgerId: number, entryId: number): Promise<number | undefined> {
    const answer = await this.#ask(topic, `ledger/${ledgerId}/entry/${entryId}`)
    await answer.body?.cancel()
    const time = answer.headers.get('x-pulsar-publish-time')
    return answer.ok && time !== null ? Date.parse(time) : undefined
  }

  async #get(topic: string, what: string): Promise<unknown> {
    const answer = await this.#ask(topic, what)
    if (answer.ok) return answer.json()
    const said = (await answer.text().catch(() => '')).slice(0, 200)
    throw new HoldfastError('unavailable', `replay: Pulsar answers ${answer.status} for ${topic} (${what}): ${said}`)
  }

  async #ask(topic: string, what: string): Promise<Response> {
    const { webUrl, token } = this.#options
    const name = fullName(topic).replace('://', '/').split('/').map(encodeURIComponent).join('/')
    const given = typeof token === 'function' ? await token() : token
    const headers = given === undefined ? {} : { authorization: `Bearer ${given}` }
    try {
      const url = `${webUrl.replace(/\/$/, '')}/admin/v2/${name}/${what}`
      return await fetch(url, { headers, signal: AbortSignal.timeout(timeoutMs) })
    } catch (cause) {
      throw new HoldfastError('unavailable', `replay: the web service of Pulsar does not answer at ${webUrl}`, {
        cause,
      })
    }
  }
}
