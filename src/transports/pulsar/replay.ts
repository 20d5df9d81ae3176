import { replayKinds, type ReplayOptions } from '../../consumer/replay/options.ts'
import { replay, type ReplayReport } from '../../consumer/replay/replay.ts'
import type { LogState, ReplayLog } from '../../consumer/replay/replay-log.ts'
import { HoldfastError } from '../../core/errors.ts'
import { callback, checkOptions, either, having, list, required, text } from '../../core/options.ts'
import { Admin, type Ledger, type TopicState } from './admin.ts'
import type { PulsarClient } from './client.ts'
import { sourcesOf } from './partitions.ts'
import { fitsPosition, placeOf, pulsarPosition } from './position.ts'
import { Seek } from './seek.ts'

export interface PulsarReplayOptions extends ReplayOptions {
  /** Moves the subscription. It stays yours. */
  readonly client: PulsarClient
  /** The web service of the broker, which knows where a subscription stands: `http://localhost:8080`. */
  readonly webUrl: string
  /** For the web service. It must allow to read the stats of the topics. */
  readonly token?: string | (() => Promise<string> | string)
  readonly subscription: string
  /** As the consumers of the subscription name them. */
  readonly topics: readonly string[]
}

/**
 * Moves a subscription of Pulsar back, so that its messages come again. Stop all its members first. The topics need a
 * retention: what every subscription has acked is gone without one.
 * @throws HoldfastError `bad-order` for what it refuses, also where a member is attached; `unavailable` when Pulsar cannot be
 * reached, or did not move the subscription.
 */
export async function pulsarReplay(options: PulsarReplayOptions): Promise<ReplayReport> {
  const { client, webUrl, token, subscription, topics, ...rest } = checkOptions('pulsarReplay', options, {
    client: required(having('connectionFor', 'partitionsOf')),
    webUrl: required(text),
    token: either(text, callback),
    subscription: required(text),
    topics: required(list),
    ...replayKinds,
  })
  const admin = new Admin({ webUrl, token })
  return replay(new PulsarLog({ admin, client, subscription, topics }), rest)
}

interface PulsarLogOptions extends Pick<PulsarReplayOptions, 'client' | 'subscription' | 'topics'> {
  readonly admin: Admin
}

/** Positions are those of entries: a batch has one. */
class PulsarLog implements ReplayLog {
  readonly system = 'pulsar'
  readonly group: string
  readonly #options: PulsarLogOptions

  constructor(options: PulsarLogOptions) {
    this.group = options.subscription
    this.#options = options
  }

  async members(): Promise<readonly string[]> {
    const { admin, subscription } = this.#options
    const sources = await this.#sources()
    const found = await Promise.all(sources.map((source) => admin.members(source, subscription)))
    return [...new Set(found.flat())]
  }

  async states(): Promise<readonly LogState[]> {
    const { admin, subscription } = this.#options
    const sources = await this.#sources()
    return Promise.all(
      sources.map(async (name) => {
        const { ledgers, marks } = checked(name, await admin.state(name))
        const mark = marks.get(subscription)
        return {
          name,
          low: pulsarPosition(ledgers[0]?.ledgerId ?? 0, 0),
          high: endOf(ledgers),
          stands: mark === undefined ? undefined : behind(ledgers, mark),
        }
      }),
    )
  }

  async positionsAt(timeMs: number): Promise<ReadonlyMap<string, number>> {
    const sources = await this.#sources()
    return new Map(
      await Promise.all(sources.map(async (name) => [name, await this.#positionAt(name, timeMs)] as const)),
    )
  }

  async #positionAt(name: string, timeMs: number): Promise<number> {
    const { admin } = this.#options
    const { ledgers } = checked(name, await admin.state(name))
    const [first, end] = [ledgers.find(({ entries }) => entries > 0), endOf(ledgers)]
    if (first === undefined) return end
    // The broker's own answer is one of the last entries where all are older.
    const found = timeMs <= 0 ? { ledgerId: first.ledgerId, entryId: 0 } : await admin.entryAt(name, Math.ceil(timeMs))
    let position = Math.max(pulsarPosition(first.ledgerId, 0), pulsarPosition(found.ledgerId, found.entryId))
    for (; position < end; position = next(ledgers, position)) {
      const { ledgerId, entryId } = placeOf(position)
      const publishedMs = await admin.publishedMs(name, ledgerId, entryId)
      if (publishedMs === undefined || publishedMs >= timeMs) break
    }
    // Of a time in the future the broker may name the end of all ledgers.
    return Math.min(position, end)
  }

  async count(name: string, from: number, to: number): Promise<number> {
    const { ledgers } = await this.#options.admin.state(name)
    return ledgers.reduce((sum, { ledgerId, entries }) => {
      const begin = pulsarPosition(ledgerId, 0)
      return sum + Math.max(0, Math.min(to - begin, entries) - Math.max(from - begin, 0))
    }, 0)
  }

  /** Attached alone to all of them first: where a member joined meanwhile, the broker refuses, and nothing was moved. */
  async move(positions: ReadonlyMap<string, number>): Promise<void> {
    const { client, subscription } = this.#options
    const seeks: Seek[] = []
    try {
      for (const name of positions.keys()) seeks.push(await Seek.attach(client, name, subscription))
      for (const seek of seeks) await seek.to(placeOf(positions.get(seek.topic) ?? 0))
    } finally {
      for (const seek of seeks) seek.leave()
    }
  }

  async close(): Promise<void> {
    // The client is the service's.
  }

  async #sources(): Promise<readonly string[]> {
    const { client, topics } = this.#options
    try {
      return await sourcesOf(client, topics)
    } catch (cause) {
      throw new HoldfastError('unavailable', `replay: Pulsar cannot be reached: ${String(cause)}`, { cause })
    }
  }
}

function checked(name: string, state: TopicState): TopicState {
  const wide = state.ledgers.find(({ ledgerId, entries }) => !fitsPosition(ledgerId, entries))
  if (wide === undefined) return state
  throw new HoldfastError('unavailable', `replay: ledger ${wide.ledgerId} of ${name} is too large to be counted`)
}

/** The position behind the last entry. */
function endOf(ledgers: readonly Ledger[]): number {
  const last = ledgers.at(-1)
  return last === undefined ? 0 : pulsarPosition(last.ledgerId, last.entries)
}

/** The first position that is not done; `mark` is the last one that is. */
function behind(ledgers: readonly Ledger[], mark: string): number {
  const [ledgerId = 0, entryId = -1] = mark.split(':').map(Number)
  return next(ledgers, pulsarPosition(ledgerId, entryId))
}

/** Where a ledger ends, the next one begins. */
function next(ledgers: readonly Ledger[], position: number): number {
  const after = position + 1
  for (const { ledgerId, entries } of ledgers) {
    const begin = pulsarPosition(ledgerId, 0)
    if (entries === 0) continue
    if (after < begin) return begin
    if (after < begin + entries) return after
  }
  return Math.max(after, endOf(ledgers))
}
