import type { Sample } from './measure.ts'

/** Both sides in turn, round by round, the first of a round in turn too: a drift of the machine falls on both. */
export async function interleaved(
  rounds: number,
  ours: () => Promise<number>,
  beside: () => Promise<number>,
): Promise<Sample[]> {
  const samples: Sample[] = []
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) samples.push({ oursNs: await ours(), besideNs: await beside() })
    else {
      const besideNs = await beside()
      samples.push({ oursNs: await ours(), besideNs })
    }
  }
  return samples
}
