import { registerHooks } from 'node:module'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-groups': 'messages carry no group-id, so that members share the messages of a key',
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is accepted when it arrives',
  'modified-on-nack': 'a message that failed is given back to the broker at once, as `modified`',
} as const

export type BreakName = keyof typeof breaks

export function isBreakName(name: string): name is BreakName {
  return Object.hasOwn(breaks, name)
}

type Patch = readonly [file: string, from: string, to: string]

const link = 'transports/amqp/source-link.ts'
const consumer = 'transports/amqp/consumer.ts'
const patches: Readonly<Record<string, readonly Patch[]>> = {
  'early-ack': [
    [link, 'if (condition === undefined) return raw.delivery.accept()', 'if (condition === undefined) return'],
    [link, 'owned.deliver(record)', 'delivery.accept(); owned.deliver(record)'],
  ],
  'modified-on-nack': [
    [consumer, "reject = 'hold',", "reject = 'broker',"],
    [consumer, 'if (!isPermanent(error) || !isRaw(delivery.raw)) throw error', 'if (!isRaw(delivery.raw)) throw error'],
    [
      link,
      'return nextTurn().then(() => {',
      'return Promise.resolve(raw.delivery.modified({ delivery_failed: true })); nextTurn().then(() => {',
    ],
  ],
}

/** Changes the source as it is loaded; call it before the module is imported. Fails where the source has moved on. */
export function plant(name: string | undefined): void {
  const mine = patches[name ?? '']
  if (mine === undefined) return
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const here = mine.filter(([file]) => url.endsWith(file))
      if (here.length === 0) return loaded
      let source = Buffer.from(loaded.source as Uint8Array).toString()
      for (const [file, from, to] of here) {
        if (!source.includes(from)) throw new Error(`cannot plant ${name}: ${file} has changed`)
        source = source.replace(from, to)
      }
      return { ...loaded, source }
    },
  })
}
