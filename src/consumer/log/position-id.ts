import type { Place } from './log-client.ts'

/**
 * The id of a message whose producer set none. A redelivery has the same one. The record's timestamp is part of it, since
 * a topic that is deleted and made anew counts its offsets from 0 again: without it, 10 of 10 new messages were taken
 * for duplicates of old ones.
 */
export function positionId(
  { topic, partition }: Place,
  offset: number | string,
  timestamp: bigint | number | string,
): string {
  return `${topic}/${partition}/${offset}@${timestamp}`
}
