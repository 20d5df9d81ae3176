import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const variables = {
  kafka: 'HOLDFAST_KAFKA_BROKERS',
  rabbitmq: 'HOLDFAST_RABBITMQ_URL',
  nats: 'HOLDFAST_NATS_URL',
  artemis: 'HOLDFAST_ARTEMIS_URL',
  pulsar: 'HOLDFAST_PULSAR_URL',
  redis: 'HOLDFAST_REDIS_URL',
  postgres: 'HOLDFAST_POSTGRES_URL',
  jaeger: 'HOLDFAST_JAEGER_URL',
} as const

/** Where a server is: as the environment says, else what `npm run services -- up` started. */
export async function addressOf(name: keyof typeof variables): Promise<string> {
  const variable = variables[name]
  const address = process.env[variable] || (await started(name, variable))
  if (address === undefined)
    throw new Error(`there is no ${name}: start one with \`npm run services -- up ${name}\`, or set ${variable}`)
  return address
}

async function started(name: string, variable: string): Promise<string | undefined> {
  const script = join(import.meta.dirname, '../scripts/services.ts')
  const flags = ['--disable-warning=TimeoutNegativeWarning']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, script, 'env', name])
  return new RegExp(`^export ${variable}='(.*)'$`, 'm').exec(stdout)?.[1]
}
