import { headerText, type Message } from '../core/message.ts'

/** The headers that tell what caused a message. */
export const flowHeaders = {
  /** The id of the message that began the chain. */
  correlation: 'correlation-id',
  /** The id of the message whose handler published this one. */
  causation: 'causation-id',
  /** How many messages of the chain came before this one. */
  hops: 'hops',
  /** The service that published it. */
  producer: 'producer',
} as const

// A longer one comes from a hostile producer, and would be copied to every message of the chain.
const longestId = 256

/** How many messages came before. What is no number counts as none. */
export function hopsOf({ headers }: Message): number {
  const text = headerText(headers, flowHeaders.hops)
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : 0
}

export function correlationOf({ id, headers }: Message): string {
  const text = headerText(headers, flowHeaders.correlation)
  return text === undefined || text === '' || text.length > longestId ? id : text
}
