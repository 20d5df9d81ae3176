import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError, PublishError, type PublishFailure } from '../../core/errors.ts'
import { headerText, outboxIdHeader } from '../../core/message.ts'
import {
  callback,
  checkArgument,
  checkOptions,
  clockKind,
  count,
  either,
  having,
  ms,
  oneOf,
  type Kinds,
} from '../../core/options.ts'
import type { Outgoing, Publisher } from '../../core/publisher.ts'
import { inTime } from '../in-time.ts'
import { contentFrom, type NatsContent } from './codec.ts'
import { apiCodeOf, isNobodyThere, isStreamMissing, reasonOf } from './errors.ts'

export interface NatsPublisherOptions {
  /** Checks whether a stream has the subject if no server answers a publish. Without `jsm` a wrong subject counts as an outage. */
  readonly jsm?: Pick<JetStreamManager, 'streams'>
  /** Returns a message's subject. `byKey()` spreads keys over numbered subjects. @defaultValue its destination */
  readonly subject?: (message: Outgoing) => string
  /**
   * Returns the `Nats-Msg-Id`. The stream drops a message whose id it has seen within its `duplicate_window`. The server
   * compares ids over all subjects of a stream. `null`: send no id, for redrives. @defaultValue the subject with the outbox id or the message id
   */
  readonly dedupe?: ((message: Outgoing, subject: string) => string) | null
  /** Longest wait for confirmations in ms. Later ones count as an outage: the messages may be stored or not. @defaultValue 30_000 */
  readonly timeoutMs?: number
  /** Most publishes that wait for their confirmation at once. @defaultValue 500 */
  readonly maxInFlight?: number
  readonly clock?: Clock
}

const self = 'natsPublisher'

const kinds: Kinds<NatsPublisherOptions> = {
  jsm: having(),
  subject: callback,
  dedupe: either(callback, oneOf(null)),
  timeoutMs: ms(),
  maxInFlight: count(),
  clock: clockKind,
}

// Message too large, headers too large: sent again, it is refused again.
const refusedForGood: ReadonlySet<number> = new Set([10_054, 10_097])

/**
 * Publishes to JetStream. Resolves when the streams have stored all messages. Messages of one key stay in order.
 * @throws PublishError naming the messages that are too large, whose headers NATS cannot carry, or whose subject no
 * stream has (`permanent`); and those that a full stream refused.
 */
export function natsPublisher(js: Pick<JetStreamClient, 'publish'>, options: NatsPublisherOptions = {}): Publisher {
  checkArgument(self, 'js', js, having('publish'))
  const {
    jsm,
    subject = ({ destination }: Outgoing) => destination,
    dedupe = dedupeBySubject,
    timeoutMs = 30_000,
    maxInFlight = 500,
    clock = systemClock,
  } = checkOptions(self, options, kinds)

  /** Resolves with the failure that is this message's; rejects for an outage. */
  async function send(message: Outgoing, index: number): Promise<PublishFailure | undefined> {
    const to = subject(message)
    let content: NatsContent
    try {
      requireSubject(to)
      content = contentFrom(message)
    } catch (error) {
      return { index, error, permanent: true }
    }
    try {
      const id = dedupe === null ? {} : { msgID: dedupe(message, to) }
      await js.publish(to, content.data, { headers: content.headers, timeout: timeoutMs, ...id })
      return undefined
    } catch (error) {
      const permanent = await isPermanent(error, to)
      if (permanent === undefined) throw error
      return { index, error, permanent }
    }
  }

  /** Undefined: an outage, which is nobody's fault. */
  async function isPermanent(error: unknown, to: string): Promise<boolean | undefined> {
    const code = apiCodeOf(error)
    if (code !== undefined && refusedForGood.has(code)) return true
    if (/max(imum)?[ _]payload|payload max/i.test(reasonOf(error))) return true
    if (isNobodyThere(error)) return (await hasNoStream(to)) ? true : undefined
    // Another answer of the API, such as a full stream: it may take the message later.
    return code === undefined ? undefined : false
  }

  async function hasNoStream(to: string): Promise<boolean> {
    if (jsm === undefined) return false
    return jsm.streams.find(to).then(() => false, isStreamMissing)
  }

  async function sendAll(messages: readonly Outgoing[], ended: () => boolean): Promise<readonly PublishFailure[]> {
    const failures: PublishFailure[] = []
    for (let from = 0; from < messages.length && !ended(); from += maxInFlight) {
      const some = messages.slice(from, from + maxInFlight)
      const settled = await Promise.allSettled(some.map((message, at) => send(message, from + at)))
      const lost = settled.find((each) => each.status === 'rejected')
      if (lost !== undefined)
        throw new HoldfastError('unavailable', `NATS did not confirm: ${reasonOf(lost.reason)}`, { cause: lost.reason })
      for (const each of settled) if (each.status === 'fulfilled' && each.value !== undefined) failures.push(each.value)
    }
    return failures
  }

  return {
    async publish(messages, { signal } = {}) {
      if (messages.length === 0) return
      signal?.throwIfAborted()
      let over = false
      try {
        const failures = await inTime(
          sendAll(messages, () => over),
          signal,
          { broker: 'NATS', timeoutMs, clock },
        )
        const [first] = failures
        if (first === undefined) return
        const text = `${failures.length} of ${messages.length} messages were refused by NATS: ${reasonOf(first.error)}`
        throw new PublishError(text, failures, { cause: first.error })
      } finally {
        over = true
      }
    },
  }
}

function dedupeBySubject({ headers, id }: Outgoing, to: string): string {
  return `${to} ${headerText(headers, outboxIdHeader) ?? id}`
}

/** The server stores a message under a wildcard's own name, where no consumer looks for it. */
function requireSubject(subject: string): void {
  if (typeof subject !== 'string' || subject === '' || /[\s*>]/.test(subject))
    throw new HoldfastError('bad-option', `natsPublisher: '${subject}' is no subject to publish to`)
}
