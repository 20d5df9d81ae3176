import { replayKinds, type ReplayOptions } from '../../consumer/replay/options.ts'
import {
  promotion,
  promotionKinds,
  type PromotionGroups,
  type PromotionReport,
} from '../../consumer/replay/promotion.ts'
import { replay, type ReplayReport } from '../../consumer/replay/replay.ts'
import type { LogState, ReplayLog } from '../../consumer/replay/replay-log.ts'
import { checkOptions, having, list, required, text } from '../../core/options.ts'
import type { MemoryBroker } from './broker.ts'
import type { PartitionLog } from './log.ts'

export interface MemoryReplayOptions extends ReplayOptions {
  readonly broker: MemoryBroker
  readonly groupId: string
  readonly topics: readonly string[]
}

/** Moves a group of a {@link MemoryBroker} back, so that its messages come again. */
export async function memoryReplay(options: MemoryReplayOptions): Promise<ReplayReport> {
  const { broker, groupId, topics, ...rest } = checkOptions('memoryReplay', options, {
    broker: required(having('groups')),
    groupId: required(text),
    topics: required(list),
    ...replayKinds,
  })
  return replay(new MemoryLog(broker, groupId, topics), rest)
}

export interface MemoryPromotionOptions extends PromotionGroups {
  readonly broker: MemoryBroker
}

/** Says the next step by which a second pipeline takes the place of the first, and changes nothing. */
export async function memoryPromotion(options: MemoryPromotionOptions): Promise<PromotionReport> {
  const { broker, groupId, secondGroupId, topics } = checkOptions('memoryPromotion', options, {
    broker: required(having('groups')),
    ...promotionKinds,
  })
  return promotion(new MemoryLog(broker, groupId, topics), new MemoryLog(broker, secondGroupId, topics))
}

class MemoryLog implements ReplayLog {
  readonly system = 'memory'
  readonly group: string
  readonly #broker: MemoryBroker
  readonly #logs: ReadonlyMap<string, PartitionLog>

  constructor(broker: MemoryBroker, groupId: string, topics: readonly string[]) {
    this.group = groupId
    this.#broker = broker
    const logs = topics.flatMap((topic) => broker.logs(topic))
    this.#logs = new Map(logs.map((log) => [`${log.topic}/${log.partition}`, log]))
  }

  async members(): Promise<readonly string[]> {
    return this.#broker.groups(this.group).members
  }

  async states(): Promise<readonly LogState[]> {
    const group = this.#broker.groups(this.group)
    return [...this.#logs].map(([name, log]) => ({
      name,
      low: log.start,
      high: log.end,
      stands: group.reads(log.topic) ? group.committed(log) : undefined,
    }))
  }

  async positionsAt(timeMs: number): Promise<ReadonlyMap<string, number>> {
    return new Map([...this.#logs].map(([name, log]) => [name, firstAt(log, timeMs)]))
  }

  async move(positions: ReadonlyMap<string, number>): Promise<void> {
    for (const [name, position] of positions) {
      const log = this.#logs.get(name)
      if (log !== undefined) this.#broker.groups(this.group).rewind(log, position)
    }
  }

  async close(): Promise<void> {
    // It opened nothing.
  }
}

function firstAt(log: PartitionLog, timeMs: number): number {
  for (let position = log.start; position < log.end; position++)
    if ((log.read(position, Infinity)?.timeMs ?? Infinity) >= timeMs) return position
  return log.end
}
