import type { Registry } from 'prom-client'
import type { Delivery } from 'holdfast'
import { emitter, type EventName, type Events } from '../../src/core/events.ts'

/** What a scrape would see: each line of samples by its name and labels. */
export async function scrape(registry: Registry): Promise<Readonly<Record<string, number>>> {
  const lines = (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

/** What stages, stores, consumers and relays report, each of it once. */
export function tellOfEverything(delivery: Delivery | undefined): void {
  if (delivery === undefined) throw new Error('nothing was handled')
  const error = new Error('x')
  const tell = <Name extends EventName>(name: Name, event: Events[Name]): void => emitter(name).publish(event)
  tell('attempt-failed', { delivery, error, attempt: 1, nextInMs: 5 })
  tell('retry-refused', { delivery, error })
  tell('dead-lettered', { delivery, error, reason: 'attempts' })
  tell('dead-letter-failed', { delivery, error, destination: 'd' })
  tell('duplicate-seen', { delivery, suppressed: true })
  tell('conflict-seen', { delivery })
  tell('abandoned', { delivery, afterMs: 1 })
  tell('lease-renewed', { delivery })
  tell('lease-lost', { delivery })
  tell('parked', { delivery, lane: 'l', afterMs: 1, error })
  tell('appended', { delivery, lane: 'l' })
  tell('parking-full', { delivery, lane: 'l', full: 'lane' })
  tell('lane-changed', { pipeline: delivery.pipeline, lane: 'l', change: 'freed', key: 'k' })
  tell('parking-status', { worker: 'w', pipeline: delivery.pipeline, lanes: 1, rows: 1, blocked: 1, oldestAgeMs: 1 })
  tell('store-failed', { store: 'redis', operation: 'claim', error })
  tell('circuit-changed', { name: 'told', from: 'open', to: 'closed' })
  tell('probe-settled', { name: 'told', result: 'answered' })
  tell('attempt-unproven', { name: 'told', error: 'x', failures: 1 })
  tell('limit-reached', { delivery: { pipeline: 'told' } as unknown as Delivery, name: 'told', waitMs: 1 })
  tell('share-changed', { name: 'told', share: 'redis', online: true })
  tell('consumer-changed', { system: 'kafka', group: 'billing', change: 'joined' })
  const relay = { relay: 'r', shard: 0 }
  tell('outbox-shard-changed', { ...relay, epoch: 1n, change: 'claimed' })
  tell('outbox-window', { shard: 0, messages: 700 })
  tell('outbox-published', { ...relay, messages: 2, dead: 0, lagMs: 12, publishMs: 3 })
  tell('outbox-dead', { ...relay, messageId: 'm', destination: 'orders', error })
  tell('outbox-outage', { ...relay, error, nextInMs: 5 })
  tell('outbox-refused', { relay: 'r', reason: 'a restored dump' })
  tell('outbox-rotated', { relay: 'r', slot: 0, result: 'cleaned' })
  tell('outbox-status', { relay: 'r', owned: [0], pending: 1, oldestAgeMs: 20, delayed: 0, dead: 0, unheld: 0 })
}
