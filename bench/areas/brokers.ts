import { outgoing, type Publisher } from 'holdfast'
import { interleaved } from '../interleaved.ts'
import { rowOf, type Row, type Target } from '../measure.ts'

export const bodyBytes = 200
export const batch = 500
export const keys = 1000
export const publishedMessages = 5000

/** What one side does with a queue, stream or topic that is full: ns a message. */
export type Consume<Bench> = (bench: Bench, place: string, messages: number, handlerMs: number) => Promise<number>

export interface Pair<Bench> {
  readonly name: string
  readonly beside: string
  readonly target: Target
  readonly handlerMs: number
  readonly ours: number
  readonly raw: { readonly consume: Consume<Bench>; readonly messages: number }
}

export interface Sides<Bench> {
  readonly area: string
  readonly bench: Bench
  readonly pairs: readonly Pair<Bench>[]
  readonly ours: Consume<Bench>
  /** Lets one side consume from a place of its own. */
  inPlace(use: (place: string) => Promise<number>): Promise<number>
  fill(place: string, messages: number): Promise<void>
  readonly publishing: { readonly name: string; readonly beside: string; raw(place: string): Promise<void> }
}

/** A place consumed to its end, and filled, beside the client alone. */
export async function* brokerRows<Bench>(rounds: number, sides: Sides<Bench>): AsyncIterable<Row> {
  const { area, bench, pairs, ours, inPlace, fill, publishing } = sides
  const onFull = (messages: number, handlerMs: number, consume: Consume<Bench>): Promise<number> =>
    inPlace(async (place) => {
      await fill(place, messages)
      return consume(bench, place, messages, handlerMs)
    })
  const published = (publish: (place: string) => Promise<void>): Promise<number> =>
    inPlace(async (place) => {
      const startMs = performance.now()
      await publish(place)
      return ((performance.now() - startMs) * 1e6) / publishedMessages
    })
  for (const { name, beside, target, handlerMs, ours: messages, raw } of pairs) {
    const samples = await interleaved(
      rounds,
      () => onFull(messages, handlerMs, ours),
      () => onFull(raw.messages, handlerMs, raw.consume),
    )
    yield rowOf({ area, name, beside, target }, samples)
  }
  const samples = await interleaved(
    rounds,
    () => published((place) => fill(place, publishedMessages)),
    () => published((place) => publishing.raw(place)),
  )
  yield rowOf({ area, name: publishing.name, beside: publishing.beside, target: null }, samples)
}

/** Small messages under 1,000 keys, 500 a call. */
export async function fillWith(
  publisher: Publisher & { close?(): Promise<void> },
  destination: string,
  messages: number,
): Promise<void> {
  for (let from = 0; from < messages; from += batch)
    await publisher.publish(
      Array.from({ length: Math.min(batch, messages - from) }, (_, at) =>
        outgoing({ destination, id: `m${from + at}`, key: `k${(from + at) % keys}`, body: Buffer.alloc(bodyBytes) }),
      ),
    )
  await publisher.close?.()
}

/** A handler that takes so long. Tells when all messages are handled, and when it was called first. */
export function countdown(
  messages: number,
  handlerMs: number,
): { readonly done: Promise<unknown>; startedMs(): number; work(): Promise<void> } {
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  let left = messages
  let startMs: number | undefined
  return {
    done,
    startedMs: () => startMs ?? NaN,
    async work() {
      startMs ??= performance.now()
      await wait(handlerMs)
      if (--left === 0) resolve(undefined)
    },
  }
}

export async function wait(ms: number): Promise<void> {
  if (ms > 0) await new Promise((after) => setTimeout(after, ms))
}

/** ns a message of a consumer, from its first one on. */
export async function consumed(
  consumer: { run(signal: AbortSignal): Promise<unknown> },
  { done, startedMs }: Pick<ReturnType<typeof countdown>, 'done' | 'startedMs'>,
  messages: number,
): Promise<number> {
  const stopping = new AbortController()
  const running = consumer.run(stopping.signal)
  await done
  const ms = performance.now() - startedMs()
  stopping.abort()
  await running
  return (ms * 1e6) / messages
}
