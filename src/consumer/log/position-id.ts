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

/** Notes, once for a topic, that the place of its messages stands for the ids that they do not have. */
export class MissingIds {
  readonly #topics = new Set<string>()

  seen({ topic }: Pick<Place, 'topic'>): void {
    if (!this.#topics.has(topic)) this.#topics.add(topic)
  }

  notes(): readonly string[] {
    return [...this.#topics].map(
      (topic) =>
        `topic ${topic} has messages without an id: their place in the topic stands for it, so a producer's duplicate is handled twice. Set the header message-id when publishing`,
    )
  }
}
