import { badOption, having, text } from '../../core/options.ts'

/** A source or target as rhea takes it. What it has besides the address goes to the broker as it is. */
export interface AmqpTerminus {
  readonly address: string
  readonly capabilities?: string | readonly string[]
  readonly [field: string]: unknown
}

/** A durable subscription that all members share. */
export interface AmqpSubscription {
  /** The group that shares it: every group gets all messages. */
  readonly name: string
  /** The name under which the broker keeps it. @defaultValue `name` */
  readonly link?: string
  readonly source: AmqpTerminus
}

export type AmqpSource = AmqpTerminus | AmqpSubscription

/** A queue: its consumers share the messages. As a target: a message goes to the queue, also while nobody consumes it. */
export function queue(address: string): AmqpTerminus {
  if (!text.fits(address)) throw badOption('queue', 'address', text.wanted, address)
  return { address, capabilities: ['queue'] }
}

/**
 * A topic, read through a durable subscription that all members of one name share. It begins when its first member
 * attaches, and keeps what comes while no member is there. Needs a broker that offers `SHARED-SUBS`: Artemis does,
 * ActiveMQ Classic does not. The broker keeps it as `<name>.<address>`: of two addresses under one name, Artemis deletes
 * the first with all that waits in it.
 */
export function subscription(address: string, name: string): AmqpSubscription {
  if (!text.fits(address)) throw badOption('subscription', 'address', text.wanted, address)
  // What follows a bar tells the links of one subscription apart.
  if (!text.fits(name) || name.includes('|'))
    throw badOption('subscription', 'name', "a text that is not empty, without '|'", name)
  const unsettledState = 2
  return {
    name,
    link: `${name}.${address}`,
    source: { address, capabilities: ['topic', 'shared', 'global'], durable: unsettledState, expiry_policy: 'never' },
  }
}

/** A topic, as a target: a message goes to every subscription of this moment, and nowhere where there is none. */
export function topic(address: string): AmqpTerminus {
  if (!text.fits(address)) throw badOption('topic', 'address', text.wanted, address)
  return { address, capabilities: ['topic'] }
}

export function isSubscription(source: AmqpSource): source is AmqpSubscription {
  return 'source' in source
}

export function terminusOf(source: AmqpSource): AmqpTerminus {
  return isSubscription(source) ? source.source : source
}

/** As in `health()` and events. */
export function nameOf(source: AmqpSource): string {
  return isSubscription(source) ? `${source.source.address}/${source.name}` : source.address
}

/** Checks what a caller without types hands over. */
export function checkSources(where: string, sources: readonly AmqpSource[]): void {
  if (sources.length === 0) throw badOption(where, 'sources', 'a list of at least one source', sources)
  const seen = new Set<string>()
  for (const [at, source] of sources.entries()) {
    const wanted = 'queue(address), subscription(address, name) or a terminus with an address'
    if (!having().fits(source)) throw badOption(where, `sources[${at}]`, wanted, source)
    const terminus: unknown = isSubscription(source) ? source.source : source
    if (!having().fits(terminus) || !text.fits(terminusOf(source).address))
      throw badOption(where, `sources[${at}]`, wanted, source)
    const name = nameOf(source)
    if (seen.has(name)) throw badOption(where, `sources[${at}]`, 'a source that is named once', name)
    seen.add(name)
  }
}
