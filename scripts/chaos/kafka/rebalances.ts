import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import { subscribe } from '../../../src/core/events.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { kafkajsConsumer } from '../../../src/transports/kafkajs/index.ts'
import { sharedBroker } from './broker.ts'

// Measures what graceful rebalances repeat: members join and leave under load, and every delivery is counted.
const { values: flags } = parseArgs({
  options: {
    messages: { type: 'string', default: '20000' },
    'handler-ms': { type: 'string', default: '5' },
    'every-ms': { type: 'string', default: '4000' },
  },
})
const [messages, handlerMs, everyMs] = [Number(flags.messages), Number(flags['handler-ms']), Number(flags['every-ms'])]
const topic = `rebalances_${randomBytes(4).toString('hex')}`
const { brokers } = await sharedBroker()
const client = (): kafkajs.Kafka => new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })

const admin = client().admin()
await admin.connect()
await admin.createTopics({ topics: [{ topic, numPartitions: 12 }] })
const producer = client().producer({ idempotent: true, maxInFlightRequests: 1 })
await producer.connect()
for (let from = 0; from < messages; from += 1000)
  await producer.send({
    topic,
    messages: Array.from({ length: Math.min(1000, messages - from) }, (_, n) => ({
      key: `key-${(from + n) % 1000}`,
      value: String(from + n),
    })),
  })
await producer.disconnect()

const drains: number[] = []
let joins = 0
subscribe('consumer-changed', ({ change, detail }) => {
  if (change === 'drained') drains.push(Number(detail?.['ms']))
  if (change === 'joined') joins++
})
const seen = new Set<string>()
let deliveries = 0
const work = pipeline(topic).handle(async ({ message }) => {
  deliveries++
  await sleep(handlerMs)
  seen.add(message.id)
})

interface Running {
  stop(): Promise<void>
}
function start(): Running {
  const stopping = new AbortController()
  const running = kafkajsConsumer({ kafka: client(), groupId: topic, topics: [topic], pipeline: work }).run(
    stopping.signal,
  )
  return {
    stop() {
      stopping.abort()
      return running
    },
  }
}

const fromMs = performance.now()
const members = [start(), start()]
for (let round = 0; seen.size < messages; round++) {
  await sleep(everyMs)
  if (round % 2 === 0) members.push(start())
  else await members.shift()?.stop()
}
const tookMs = performance.now() - fromMs
await Promise.all(members.map((member) => member.stop()))
await admin.deleteTopics({ topics: [topic] })
await admin.disconnect()
drains.sort((a, b) => a - b)
const rows = {
  messages,
  'handler ms': handlerMs,
  joins,
  redelivered: deliveries - messages,
  'drain ms, median': drains[drains.length >> 1],
  'drain ms, longest': drains.at(-1),
  seconds: Math.round(tookMs / 1000),
}
for (const [what, value] of Object.entries(rows)) console.log(`${what.padEnd(20)} ${value}`)
process.exit(deliveries === messages ? 0 : 1)
