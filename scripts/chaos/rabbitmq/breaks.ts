import { registerHooks } from 'node:module'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-single-active': 'the queues have no single active consumer, and nobody checks them',
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is acked when it arrives',
} as const

export type BreakName = keyof typeof breaks

export function isBreakName(name: string): name is BreakName {
  return Object.hasOwn(breaks, name)
}

const file = 'transports/rabbitmq/client.ts'
const patches: Readonly<Record<string, readonly (readonly [from: string, to: string])[]>> = {
  'early-ack': [
    ['ack: ({ raw }) => channel.ack(raw),', 'ack: () => {},'],
    ['owned.deliver({ raw,', 'channel.ack(raw); owned.deliver({ raw,'],
  ],
}

/** Changes the source as it is loaded; call it before the module is imported. Fails where the source has moved on. */
export function plant(name: string | undefined): void {
  const patch = patches[name ?? '']
  if (patch === undefined) return
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      if (!url.endsWith(file)) return loaded
      let source = Buffer.from(loaded.source as Uint8Array).toString()
      for (const [from, to] of patch) {
        if (!source.includes(from)) throw new Error(`cannot plant ${name}: ${file} has changed`)
        source = source.replace(from, to)
      }
      return { ...loaded, source }
    },
  })
}
