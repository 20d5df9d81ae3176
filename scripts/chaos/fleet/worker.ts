import { Buffer } from 'node:buffer'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { z } from 'zod'
import { json } from '../../../src/codecs/json.ts'
import { subscribe } from '../../../src/core/events.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { memoryIdempotencyStore } from '../../../src/idempotency/memory-store.ts'
import { resilient } from '../../../src/resilient.ts'
import { circuitBreaker } from '../../../src/retry/circuit-breaker.ts'
import { circuitScript } from '../../../src/stores/redis/circuit-script.ts'
import { redisCircuits, type RedisScripts } from '../../../src/stores/redis/circuits.ts'
import { memoryBroker } from '../../../src/transports/memory/broker.ts'
import { memoryConsumer } from '../../../src/transports/memory/consumer.ts'
import type { FleetWorkerSettings } from './settings.ts'

const settings = JSON.parse(process.argv[2] ?? '{}') as FleetWorkerSettings
const { id, dependencyUrl, redisUrl, prefix, perSecond, probeTimeoutMs, planted } = settings

const redis =
  redisUrl === null
    ? undefined
    : new Redis(redisUrl, { maxRetriesPerRequest: 0, enableOfflineQueue: false, retryStrategy: () => 200 })
redis?.on('error', () => {})

/** What `--broken` plants in the script: the rule, and what stands there instead. */
const plants: Readonly<Record<string, readonly [string, string]>> = {
  'every-asker-probes': ["what == 'ask' and state == 'o' and till <= now", "what == 'ask' and state ~= 'c'"],
  'window-again': [
    "to('o', nextEpoch(), now + window, '', longer(window), since) end\n\n",
    "to('o', nextEpoch(), now, '', window, since) end\n\n",
  ],
}

/** The script with one rule left out. */
function broken(client: RedisScripts, [rule, instead]: readonly [string, string]): RedisScripts {
  const text = circuitScript.text.replace(rule, instead)
  if (text === circuitScript.text) throw new Error(`the script has no rule '${rule}'`)
  return {
    evalsha: () => Promise.reject(new Error('NOSCRIPT')),
    eval: (_, count, ...rest) => client.eval(text, count, ...rest),
  }
}

const plant = plants[planted ?? '']
const client = plant !== undefined && redis !== undefined ? broken(redis, plant) : redis
const payments = circuitBreaker({
  ...{ name: 'payments', probeTimeoutMs, observe: planted === 'refuses-nothing' },
  ...(client !== undefined && { share: redisCircuits(client, { prefix }) }),
})

async function call(orderId: string): Promise<void> {
  const { epoch, scope } = payments.health().details
  const about = new URLSearchParams({
    ...{ id, order: orderId, state: payments.state },
    ...{ epoch: String(epoch), scope: String(scope) },
  })
  const answer = await fetch(`${dependencyUrl}/?${about.toString()}`, { signal: AbortSignal.timeout(probeTimeoutMs) })
  await answer.arrayBuffer()
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status })
}

const counts = { done: 0, dead: 0, unproven: 0 }
subscribe('circuit-changed', ({ from, to }) => console.log(`change ${from} ${to}`))
subscribe('attempt-unproven', () => counts.unproven++)

const broker = memoryBroker()
const pipeline = resilient(id, {
  ...{ codec: json(z.object({})), store: memoryIdempotencyStore(), log: false },
  deadLetters: {
    async publish(messages) {
      counts.dead += messages.length
    },
  },
}).handle(async ({ message, signal }) => {
  await payments.run(() => call(message.id), { signal, id: message.id })
  counts.done++
})

const stop = new AbortController()
const running = memoryConsumer({ broker, groupId: 'fleet', topics: ['orders'], pipeline }).run(stop.signal)
const publisher = broker.publisher()
let sent = 0
const timer = setInterval(() => {
  const number = sent++
  const message = outgoing({ destination: 'orders', id: `${id}-${number}`, key: `${number}`, body: Buffer.from('{}') })
  void publisher.publish([message])
}, 1000 / perSecond)

createInterface(process.stdin).on('line', (line) => {
  if (line === 'end') void end()
})

async function end(): Promise<void> {
  clearInterval(timer)
  for (let turn = 0; turn < 600 && counts.done + counts.dead < sent; turn++) {
    await sleep(50)
    if (turn % 40 === 39)
      console.log(`left ${sent - counts.done - counts.dead} ${JSON.stringify(payments.health().details)}`)
  }
  stop.abort()
  await running
  console.log(`end ${JSON.stringify({ ...counts, sent, state: payments.state })}`)
  redis?.disconnect()
  process.exit(0)
}
console.log('ready')
