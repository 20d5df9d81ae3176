import { subscribe } from '../core/events.ts'
import { deliveryLines, writeLine, type Lines, type Logger } from './log-lines.ts'

interface Entry {
  readonly name: string
  readonly log: Logger
}

const entries = new Map<string, Entry>()
const stops: (() => void)[] = []

// Made with the first entry: importing this sets nothing up.
let gone: FinalizationRegistry<Entry> | undefined

function forget(entry: Entry): void {
  if (entries.get(entry.name) !== entry) return
  entries.delete(entry.name)
  if (entries.size === 0) for (const stop of stops.splice(0)) stop()
}

/**
 * Writes the lines of one pipeline for as long as its `step` is alive; `false` for none. All pipelines share one listener
 * for each event, so that a service that builds a pipeline for each tenant and drops it again leaks nothing.
 */
export function logPipeline(name: string, log: Logger | false, step: object): void {
  if (log === false) {
    entries.delete(name)
    return
  }
  const entry = { name, log }
  entries.set(name, entry)
  gone ??= new FinalizationRegistry(forget)
  gone.register(step, entry)
  if (stops.length === 0)
    stops.push(listen('nacked'), listen('dead-lettered'), listen('dead-letter-failed'), listenForOptions())
}

function listen<Name extends 'nacked' | 'dead-lettered' | 'dead-letter-failed'>(name: Name): () => void {
  const lineOf: Lines<Name>[Name] = deliveryLines[name]
  return subscribe(name, (event) => {
    const entry = entries.get(event.delivery.pipeline)
    if (entry !== undefined) writeLine(entry.log, name, event.delivery, lineOf(event))
  })
}

/** Such a function belongs to no pipeline: each logger is told once. */
function listenForOptions(): () => void {
  return subscribe('option-failed', (event) => {
    const line = deliveryLines['option-failed'](event)
    for (const log of new Set([...entries.values()].map((entry) => entry.log)))
      writeLine(log, 'option-failed', undefined, line)
  })
}
