import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import { pipeline } from '../../../src/core/pipeline.ts'
import { kafkajsConsumer } from '../../../src/transports/kafkajs/index.ts'
import { platformaticKafkaConsumer } from '../../../src/transports/platformatic-kafka/index.ts'
import { sharedBroker } from './broker.ts'
import { managedClients } from './member.ts'
import { RebalanceWatch, type Watched } from './rebalance-watch.ts'
import { createTopics } from '../../../test/support/kafka-topics.ts'

const USAGE = `Usage: npm run measure:rebalances -- [--client name] [--messages n] [--minutes n] [--busy-ms n] [--handler-ms n] [--every-ms n]

  Members join and leave in good order under load. Counts what is delivered again, the partitions that stand still while
  they have messages, and the alarms: there is nothing to be alarmed about.
  Exits with 1 where there is one of them.

  --messages  how many, all sent before the first join                          (default 20000)
  --minutes   sends --rate messages a second for that long instead, and waits for a quarter to three times --every-ms
              between two changes
  --busy-ms   blocks the event loop, which all members share, for up to that long again and again`

const { values: flags } = parseArgs({
  options: {
    client: { type: 'string', default: 'kafkajs' },
    messages: { type: 'string', default: '20000' },
    minutes: { type: 'string', default: '0' },
    rate: { type: 'string', default: '200' },
    'busy-ms': { type: 'string', default: '0' },
    'handler-ms': { type: 'string', default: '5' },
    'every-ms': { type: 'string', default: '4000' },
    'still-ms': { type: 'string', default: '8000' },
    help: { type: 'boolean', default: false },
  },
})
const client = managedClients.find((each) => each === flags.client)
if (flags.help || client === undefined) {
  console.log(USAGE)
  process.exit(flags.help ? 0 : 2)
}
const [messages, minutes, rate] = [Number(flags.messages), Number(flags.minutes), Number(flags.rate)]
const [busyMs, handlerMs, everyMs] = [Number(flags['busy-ms']), Number(flags['handler-ms']), Number(flags['every-ms'])]
const partitions = 12
// Counted from the last join. Until then a member needs one fetch.
const standStillMs = Number(flags['still-ms'])

const topic = `rebalances_${randomBytes(4).toString('hex')}`
const { brokers } = await sharedBroker()
const kafka = (): kafkajs.Kafka => new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })
const watch = new RebalanceWatch(topic, partitions, standStillMs)

const admin = kafka().admin()
await admin.connect()
await createTopics(admin, [{ topic, numPartitions: partitions }])
const producer = kafka().producer({ idempotent: true, maxInFlightRequests: 1 })
await producer.connect()
let next = 0
let started = 0
async function send(count: number): Promise<void> {
  const batch = Array.from({ length: count }, () => {
    const n = next++
    return { key: `key-${n % 1000}`, value: String(n), partition: (n % 1000) % partitions }
  })
  await producer.send({ topic, messages: batch })
  for (const { partition } of batch) watch.sent(partition)
}

const work = pipeline(topic).handle(async ({ origin: { partition, position } }) => {
  await sleep(handlerMs)
  watch.handled(Number(partition), position ?? '')
})

interface Running extends Watched {
  stop(): Promise<void>
}
function start(): Running {
  const stopping = new AbortController()
  const name = `member ${++started}`
  watch.note(`${name} starts`)
  const options = { groupId: topic, topics: [topic], pipeline: work }
  const consumer =
    client === 'kafkajs' || client === undefined
      ? kafkajsConsumer({ kafka: kafka(), ...options })
      : platformaticKafkaConsumer({
          connection: { clientId: topic, bootstrapBrokers: [...brokers] },
          groupProtocol: client,
          ...options,
        })
  const running = consumer.run(stopping.signal)
  running.catch((error: unknown) => watch.alarmTexts.push(`run() rejected: ${String(error)}`))
  return {
    health: () => consumer.health(),
    stop() {
      watch.note(`${name} stops`)
      stopping.abort()
      return running.then(() => watch.note(`${name} stopped`))
    },
  }
}

/** The loop is blocked about half of the time, by pieces of random length. */
function blockLoop(): void {
  if (busyMs === 0) return
  const untilMs = performance.now() + Math.random() * busyMs
  while (performance.now() < untilMs) JSON.stringify(process.versions)
  setTimeout(blockLoop, Math.random() * busyMs)
}

const fromMs = performance.now()
const members = [start(), start()]
blockLoop()
const looking = setInterval(() => watch.look(members), 1000)
const untilMs = fromMs + minutes * 60_000
const sending = minutes === 0 ? undefined : keepSending()
if (sending === undefined) for (let from = 0; from < messages; from += 1000) await send(Math.min(1000, messages - from))

async function keepSending(): Promise<void> {
  while (performance.now() < untilMs) {
    await send(rate / 10)
    await sleep(100)
  }
}

function isDone(): boolean {
  return performance.now() >= untilMs && watch.distinct >= watch.produced
}
let saidMs = performance.now()
for (let round = 0; !isDone() && performance.now() < untilMs + 600_000; round++) {
  await sleep(everyMs * (minutes === 0 ? 1 : 0.25 + 2.75 * Math.random()))
  if (round % 2 === 0) members.push(start())
  else await members.shift()?.stop()
  if (performance.now() - saidMs < 60_000) continue
  saidMs = performance.now()
  console.error(
    `${Math.round((saidMs - fromMs) / 60_000)} min: ${watch.joins} joins, ${watch.distinct} of ${watch.produced} handled, ${watch.deliveries - watch.distinct} again, longest still ${watch.longestMs} ms, alarms ${JSON.stringify(Object.fromEntries(watch.alarms))}`,
  )
}
await sending
const tookMs = performance.now() - fromMs
clearInterval(looking)
await Promise.all(members.map((member) => member.stop()))
await producer.disconnect()
await admin.deleteTopics({ topics: [topic] })
await admin.disconnect()
watch.stop()
const drains = watch.drains.toSorted((a, b) => a - b)
const redelivered = watch.deliveries - watch.distinct
const rows = {
  client,
  messages: watch.produced,
  'handler ms': handlerMs,
  'loop blocked, up to ms': busyMs,
  joins: watch.joins,
  lost: watch.produced - watch.distinct,
  redelivered,
  'drain ms, median': drains[drains.length >> 1],
  'drain ms, longest': drains.at(-1),
  'still after a join, longest ms': watch.longestMs,
  [`still for ${standStillMs} ms`]: watch.standStills.length,
  'failed commits': watch.commitsFailed,
  'false alarms': watch.alarmTexts.length,
  seconds: Math.round(tookMs / 1000),
}
for (const [what, value] of Object.entries(rows)) console.log(`${what.padEnd(30)} ${value}`)
for (const text of watch.alarmTexts.slice(0, 20)) console.log(`alarm: ${text}`)
for (const each of watch.standStills.slice(0, 5)) console.log(`still: ${JSON.stringify(each, null, 1)}`)
const failed = redelivered > 0 || rows.lost > 0 || watch.standStills.length > 0 || watch.alarmTexts.length > 0
process.exit(failed ? 1 : 0)
