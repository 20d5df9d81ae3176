import { pipeline } from 'holdfast'
import { managed, rawEachBatch, type Side } from './consumers.ts'
import { kafkaClient } from './topic.ts'

export type SideName = keyof typeof sides

/** The most that was held at a time: after a collection of garbage, and as the system sees it. */
export interface Held {
  readonly liveBytes: number
  readonly rssBytes: number
}

// Consumes from the beginning of a topic in a process of its own, and prints the most that this process held meanwhile.
const sides = {
  holdfast: () => managed('holdfast', (work) => pipeline('bench.backlog').handle(work)),
  kafkajs: rawEachBatch,
} satisfies Record<string, () => Side>

export interface Order {
  readonly side: SideName
  readonly brokers: readonly string[]
  readonly topic: string
  readonly messages: number
}

const sampleMs = 200
// Slower than fetching, so that messages wait.
const handlerMs = 1
const atOnce = 64

process.once('message', (order: Order) => void consume(order).then((held) => process.send?.(held)))

async function consume({ side, brokers, topic, messages }: Order): Promise<Held> {
  const all = Promise.withResolvers<void>()
  let started = 0
  let done = 0
  const stop = await sides[side]().start({
    kafka: kafkaClient(brokers),
    topic,
    async work() {
      // One after the other would never get through: every 64th waits for all of them.
      if (side === 'holdfast' || ++started % atOnce === 0) await new Promise((after) => setTimeout(after, handlerMs))
      if (++done === messages) all.resolve()
    },
    onJoin() {},
  })
  const most = { liveBytes: 0, rssBytes: 0 }
  const sampling = setInterval(() => {
    most.rssBytes = Math.max(most.rssBytes, process.memoryUsage.rss())
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    most.liveBytes = Math.max(most.liveBytes, heapUsed + external)
  }, sampleMs)
  await all.promise
  clearInterval(sampling)
  await stop()
  return most
}
