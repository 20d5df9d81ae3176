/** The consumer of one ownership: what an earlier owner acks names another one. */
export function consumerName(group: string, partition: string, epoch: number): string {
  return `${group}-${partition}-e${epoch}`
}
