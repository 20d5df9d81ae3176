import { compatibilityPartitioner, type Producer, type SendOptions } from '@platformatic/kafka'
import { systemClock, type Clock } from '../../core/clock.ts'
import { checkArgument, checkOptions, clockKind, having, ms, oneOf, type Kinds } from '../../core/options.ts'
import type { Publisher } from '../../core/publisher.ts'
import { publishInHalves, type Blame, type HalvingPublish, type Numbered } from '../publish-in-halves.ts'
import { recordFrom } from './codec.ts'
import { apiIdOf, isUnknownTopic, reasonOf } from './errors.ts'

export interface PlatformaticKafkaPublisherOptions {
  /** @defaultValue none */
  readonly compression?: 'gzip' | 'snappy' | 'lz4' | 'zstd'
  /** Longest wait for a confirmation in ms. A later one counts as an outage: the messages may be written or not. @defaultValue 30_000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

/** What the publisher needs of a `Producer`. */
export interface KafkaProducer {
  send(options: SendOptions<Buffer, Buffer, Buffer, Buffer>): Promise<unknown>
}

const self = 'platformaticKafkaPublisher'

const kinds: Kinds<PlatformaticKafkaPublisherOptions> = {
  compression: oneOf('gzip', 'snappy', 'lz4', 'zstd'),
  timeoutMs: ms(),
  clock: clockKind,
}

/**
 * Publishes through a producer of `@platformatic/kafka`. Resolves when every in-sync replica has all messages.
 * Messages of one key stay in order. Keys go to the same partitions as with other Kafka clients.
 * Create the producer with `new Producer({ …, idempotent: true, retries: 3, requestTimeout: 5_000 })`: without `idempotent`
 * it may write twice by itself, and with endless retries it writes after the publisher has given up.
 * @throws PublishError naming the messages that Kafka will never take: too large, unknown topic, invalid record.
 */
export function platformaticKafkaPublisher(
  producer: Pick<Producer, 'send'> | KafkaProducer,
  options: PlatformaticKafkaPublisherOptions = {},
): Publisher {
  checkArgument(self, 'producer', producer, having('send'))
  const { compression, timeoutMs = 30_000, clock = systemClock } = checkOptions(self, options, kinds)
  const sends = new InTurn()

  async function send(numbered: readonly Numbered[], ended: () => boolean): Promise<void> {
    // One request at a time: where the first of two has to be sent again, the client writes them in the wrong order.
    await sends.run(async () => {
      if (ended()) return
      await producer.send({
        messages: numbered.map(({ message }) => recordFrom(message)),
        acks: -1,
        // The client's default spreads keys in another way than every other client.
        partitioner: compatibilityPartitioner,
        ...(compression === undefined ? {} : { compression }),
      })
    })
  }

  const how: HalvingPublish = { broker: 'Kafka', send, blames, reason: reasonOf, timeoutMs, clock }
  return { publish: (messages, { signal } = {}) => publishInHalves(messages, signal, how) }
}

class InTurn {
  #last: Promise<unknown> = Promise.resolve()

  run(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }
}

const badMessage: ReadonlySet<string> = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
])

function blames(error: unknown): Blame {
  const id = apiIdOf(error)
  if (id !== undefined && badMessage.has(id)) return 'message'
  if (id === 'INVALID_TOPIC_EXCEPTION' || isUnknownTopic(error)) return 'destination'
  return 'nobody'
}
