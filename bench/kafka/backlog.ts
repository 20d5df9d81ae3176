import { fork } from 'node:child_process'
import { once } from 'node:events'
import { quantile, targetText, type Row } from '../measure.ts'
import type { Held, Order, SideName } from './backlog-child.ts'
import { deleteTopic, kafkaClient, preloadedTopic } from './topic.ts'

const few = 50_000
const many = 1_000_000
// Memory that grew with the backlog would show by then.
const consumed = 250_000
const mostRatio = 1.5

/** What a consumer holds before a backlog of a million messages, whose handler is slower than the broker. */
export async function* backlogRows(brokers: readonly string[], rounds: number): AsyncIterable<Row> {
  const kafka = kafkaClient(brokers)
  const small = await preloadedTopic(kafka, { messages: few })
  const large = await preloadedTopic(kafka, { messages: many })
  const held = (side: SideName, topic: string, messages: number) => heldBy({ side, brokers, topic, messages })
  const rows = { ours: [] as Held[], fewer: [] as Held[], raw: [] as Held[] }
  for (let round = 0; round < Math.min(rounds, 3); round++) {
    rows.ours.push(await held('holdfast', large, consumed))
    rows.fewer.push(await held('holdfast', small, few))
    rows.raw.push(await held('kafkajs', large, consumed))
  }
  await Promise.all([small, large].map((topic) => deleteTopic(kafka, topic)))
  yield row('the same before 50,000', rows.ours, rows.fewer)
  yield row('kafkajs eachBatch', rows.ours, rows.raw)
}

function row(beside: string, ours: readonly Held[], others: readonly Held[]): Row {
  const ratios = ours.map(({ liveBytes }, round) => liveBytes / (others[round]?.liveBytes ?? NaN))
  const ratio = quantile(ratios, 0.5)
  const sizes = (of: (held: Held) => number) =>
    [ours, others].map((all) => `${(quantile(all.map(of), 0.5) / 2 ** 20).toFixed(0)} MiB`).join(' beside ')
  return {
    area: 'kafka',
    name: 'most held before a backlog of 1,000,000',
    ratio,
    quartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    beside,
    target: targetText({ cost: mostRatio }),
    met: ratio <= mostRatio,
    detail: `${sizes(({ liveBytes }) => liveBytes)}; RSS ${sizes(({ rssBytes }) => rssBytes)}`,
  }
}

async function heldBy(order: Order): Promise<Held> {
  const child = fork(new URL('backlog-child.ts', import.meta.url), {
    execArgv: ['--expose-gc', '--disable-warning=TimeoutNegativeWarning'],
  })
  child.send(order)
  const [held] = (await once(child, 'message')) as [Held]
  child.kill()
  return held
}
