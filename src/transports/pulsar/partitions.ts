import type { PulsarClient } from './client.ts'

/** The topics, and the partitions of those that have some. */
export async function sourcesOf(
  client: Pick<PulsarClient, 'partitionsOf'>,
  topics: readonly string[],
): Promise<readonly string[]> {
  const sources: string[] = []
  for (const topic of topics) {
    const partitions = await client.partitionsOf(topic)
    if (partitions === 0) sources.push(topic)
    else for (let number = 0; number < partitions; number++) sources.push(`${topic}-partition-${number}`)
  }
  return sources
}
