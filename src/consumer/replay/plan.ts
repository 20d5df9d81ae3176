import type { Delivery } from '../../core/delivery.ts'
import { badOption, objects, type Kind } from '../../core/options.ts'
import type { Bytes } from '../../core/message.ts'

/** What of one partition comes again. Positions are offsets of Kafka, sequences of NATS, `pulsarPosition()` of Pulsar. */
export interface PlannedPartition {
  /** The first position that is not of the replay. */
  readonly to: number
  /** Where the group stood: from here on messages are new. */
  readonly stood: number
}

/** What a consumer must know of a replay. It is plain JSON: keep it in the service's settings until the replay is over, or for good. */
export interface ReplayPlan {
  readonly group: string
  /** `null`: keys stay in their ordinary scope. */
  readonly scope: string | null
  /** When the group was moved, in ms since 1970: later messages are new, also in a log that was made anew. */
  readonly atMs: number
  readonly partitions: Readonly<Record<string, PlannedPartition>>
}

/** An option of consumers that can be moved back. */
export interface Replaying {
  /** `report.plan` of the replay that moved this group back. Messages below its positions carry `delivery.replay`. */
  readonly replay?: ReplayPlan
}

export const replayKind: Kind = objects

/** Marks the deliveries of one group's replay. */
export class ReplayMark {
  readonly #plan: ReplayPlan

  constructor(where: string, group: string, plan: ReplayPlan) {
    if (plan.group !== group) throw badOption(where, 'replay', `the plan of group '${group}'`, plan.group)
    this.#plan = plan
  }

  /** The delivery as it is, or as one of the replay. Beyond `to` it comes again in its ordinary scope. */
  on(partition: string, delivery: Delivery<Bytes>, at: number = Number(delivery.origin.position)): Delivery<Bytes> {
    const { scope, atMs, partitions } = this.#plan
    const planned = partitions[partition]
    if (planned === undefined || !(at < planned.stood) || delivery.message.timeMs > atMs) return delivery
    const again = { ...delivery, replay: true, first: false }
    return scope === null || at >= planned.to ? again : { ...again, replayScope: scope }
  }
}
