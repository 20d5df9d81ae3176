import type { PartitionAssigner } from 'kafkajs'

/**
 * Gives a consumer an awaited moment before each of its joins: kafkajs hands its cluster to the assigners, and asks it
 * for the coordinator before anything else. `REBALANCING` is not awaited, and comes too late.
 */
export function joinGate(base: PartitionAssigner, beforeJoin: () => Promise<void>): PartitionAssigner {
  return function gatedAssigner(given) {
    const { cluster } = given
    const find = cluster.findGroupCoordinator.bind(cluster)
    cluster.findGroupCoordinator = async (request) => {
      await beforeJoin()
      return find(request)
    }
    return base(given)
  }
}
