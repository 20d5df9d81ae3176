import { addressOf } from '../services.ts'

/** What the two services share. In yours it comes from their configuration. */
export interface Settings {
  readonly brokers: string[]
  readonly databaseUrl: string
  readonly schema: string
  readonly topic: string
}

export async function settings(): Promise<Settings> {
  const [brokers, databaseUrl] = await Promise.all([addressOf('kafka'), addressOf('postgres')])
  const topic = process.env['EXAMPLE_TOPIC'] ?? 'orders.placed'
  return { brokers: brokers.split(','), databaseUrl, topic, schema: topic.replaceAll(/[^a-z0-9]/g, '_') }
}
