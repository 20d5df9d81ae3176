import { isAbandoned } from '../../../src/core/errors.ts'
import { sleep } from '../../../src/core/clock.ts'
import { lanes } from '../../../src/consumer/lanes.ts'
import { attemptAfter } from '../../../src/consumer/redelivery.ts'
import type { LaneTrack } from '../../../src/consumer/track.ts'
import type { LogRecord } from '../../../src/testing/world/simulated-broker.ts'
import { deliveryOf, type ConsumerFactory } from '../../../src/testing/world/simulated-consumer.ts'

/** What a partition is while this process owns it. */
interface Owned {
  readonly track: LaneTrack<Item>
  next: number
  wanted: number
}

interface Item {
  readonly record: LogRecord
  readonly signal: AbortSignal
}

/** A consumer over the real lanes and the real watermark, as the transports use them. */
export const lanesConsumer: ConsumerFactory = ({ simulation, broker, process, group, clock, pipeline, onSettled }) => {
  const member = broker.join(process, group)
  let known = 0
  let over = new AbortController()
  let owned = new Map<number, Owned>()
  const last = new Map<number, LaneTrack<Item>>()
  let committing = Promise.resolve()

  const work = lanes<Item>({
    concurrency: 8,
    ahead: 16,
    redeliverMs: 1_000,
    clock,
    run: ({ record, signal }, _, attempt) =>
      simulation
        .within(process, record.id, () =>
          pipeline.step(deliveryOf(record, group, pipeline.name, attempt, signal, simulation)),
        )
        .then((outcome) => onSettled(record, outcome)),
    onNack: ({ record }, error, attempt) =>
      isAbandoned(error) ? attempt + 1 : attemptAfter(error, record.id, attempt),
  })

  function own(partition: number, first: number): Owned {
    const epoch = owned
    const track = work.open({ after: last.get(partition), onDone: () => done(partition, epoch) })
    last.set(partition, track)
    const made = { track, next: first, wanted: first }
    owned.set(partition, made)
    return made
  }

  function done(partition: number, epoch: Map<number, Owned>): void {
    const mine = epoch.get(partition)
    if (mine === undefined || epoch !== owned) return
    const offset = mine.track.window.oldest?.record.offset ?? mine.next
    if (offset <= mine.wanted) return
    mine.wanted = offset
    const generation = known
    committing = committing.then(() => commit(partition, offset, epoch, generation))
  }

  async function commit(partition: number, offset: number, epoch: Map<number, Owned>, generation: number) {
    while (epoch === owned) {
      try {
        await broker.commit(member, partition, offset, generation)
        return
      } catch {
        await sleep(clock, 100)
      }
    }
  }

  function lose(): void {
    over.abort(new Error('the partitions were lost'))
    over = new AbortController()
    for (const { track } of owned.values()) work.close(track)
    owned = new Map()
  }

  return {
    member,
    stop() {
      member.stopped = true
      member.wake?.()
    },
    async run() {
      for (;;) {
        const fetched = await broker.poll(
          member,
          known,
          (partition, committed) => owned.get(partition)?.next ?? committed,
        )
        if (fetched === undefined || member.stopped) break
        if (fetched.generation !== known) {
          lose()
          known = fetched.generation
        }
        for (const record of fetched.records) {
          const mine = owned.get(record.partition) ?? own(record.partition, record.offset)
          if (record.offset < mine.next) continue
          mine.next = record.offset + 1
          work.add(mine.track, record.key, { record, signal: over.signal })
        }
      }
      await work.drain()
      await committing
      lose()
      broker.leave(member)
    },
  }
}
