import { auditOf } from './audit.ts'
import type { Backend, Broker, Keys } from './backend.ts'
import { memoryBackend, memoryKeys } from './backends/memory.ts'
import { optionsFrom, usage, UsageError, type Options } from './options.ts'
import { planFor } from './plan.ts'
import { printReport, reportOf } from './report.ts'
import { runShop } from './shop.ts'
import { lineView, liveView, noView } from './view.ts'

try {
  const options = optionsFrom(process.argv.slice(2))
  if (options.help) process.stdout.write(usage)
  else if (options.page) process.exitCode = await (await import('./page/main.ts')).runPage(options)
  else process.exitCode = await demo(options)
} catch (error) {
  if (!(error instanceof Error)) throw error
  const hint = error instanceof UsageError ? ' (--help shows the options)' : ''
  process.stderr.write(`coffee-store: ${error.message}${hint}\n`)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
// What was killed still waits for answers that never come.
process.exit()

/** @returns the exit code. */
async function demo(options: Options): Promise<number> {
  // By way of `exit`, so that the cursor comes back.
  process.once('SIGINT', () => process.exit(130))
  process.once('SIGTERM', () => process.exit(143))
  process.stdout.once('error', () => process.exit(1))
  const { seed, messages, naive, json } = options
  const plan = planFor({ seed, messages })
  const backend = await backendFor(options)
  const { stdout } = process
  const title = `The coffee store ${naive ? 'without' : 'with'} holdfast · ${backend.name} · seed ${seed}`
  const live = stdout.isTTY && process.env['TERM'] !== 'dumb'
  try {
    const { evidence, timesOpened, tookMs } = await runShop({
      plan,
      seed,
      naive,
      backend,
      title,
      viewOf: (progress) => (json ? noView : live ? liveView(progress, stdout) : lineView(progress, stdout)),
    })
    const audit = auditOf(evidence)
    if (json) {
      const { fingerprint } = plan
      const about = { mode: naive ? 'naive' : 'wrapped', on: backend.name, seed, messages, plan: fingerprint }
      const figures = { ...about, seconds: Math.round(tookMs / 100) / 10, circuitOpened: timesOpened, ...audit }
      stdout.write(`${JSON.stringify(figures, null, 2)}\n`)
    } else printReport(reportOf(audit, timesOpened, columnsOf(stdout)), stdout)
    return audit.ok ? 0 : 1
  } finally {
    await backend.close()
    await backend.closeKeys()
  }
}

async function backendFor(options: Options): Promise<Backend> {
  const { redis, postgres } = options
  const [broker, carries] = await brokerFor(options)
  let keys: Keys = memoryKeys()
  if (redis !== false) keys = await (await import('./backends/redis.ts')).redisKeys(redis)
  if (postgres !== false) keys = await (await import('./backends/postgres.ts')).postgresKeys(postgres)
  const real = [carries, redis !== false && 'Redis', postgres !== false && 'PostgreSQL']
  return { ...broker, ...keys, name: real.filter(Boolean).join(' and ') || 'in memory' }
}

/** The clients are loaded only where they are used. */
async function brokerFor(options: Options): Promise<readonly [broker: Broker, name: string]> {
  const { seed, kafka, platformaticKafka, rabbitmq, nats, artemis, pulsar } = options
  if (kafka !== false) return [await (await import('./backends/kafka.ts')).kafkaBackend(kafka), 'Kafka']
  if (platformaticKafka !== false) {
    const { platformaticKafkaBackend } = await import('./backends/platformatic-kafka.ts')
    return [await platformaticKafkaBackend(platformaticKafka), 'Kafka (@platformatic/kafka)']
  }
  if (rabbitmq !== false) return [await (await import('./backends/rabbitmq.ts')).rabbitmqBackend(rabbitmq), 'RabbitMQ']
  if (nats !== false) return [await (await import('./backends/nats.ts')).natsBackend(nats), 'NATS']
  if (artemis !== false) return [await (await import('./backends/artemis.ts')).artemisBackend(artemis), 'Artemis']
  if (pulsar !== false) return [await (await import('./backends/pulsar.ts')).pulsarBackend(pulsar), 'Pulsar']
  return [memoryBackend(seed), '']
}

/** A pipe has no width. */
function columnsOf({ isTTY, columns }: NodeJS.WriteStream): number {
  return isTTY ? columns : 120
}
