import type { Consumer } from 'kafkajs'
import { emitter } from '../../core/events.ts'
import { HoldfastError } from '../../core/errors.ts'
import { ChildSignal, neverAborts } from '../../core/signals.ts'

/** What the plain forms use of a consumer that is not theirs. */
export type WatchedConsumer = Pick<Consumer, 'on' | 'events' | 'paused' | 'stop'>

/** What happens to a consumer that the service itself made and runs. */
export interface Membership {
  /** Known from the first join on. */
  readonly group: string | null
  readonly crashed: boolean
  /** A signal for one piece of work; `end` it afterwards. */
  begin(): ChildSignal
  end(work: ChildSignal): void
  readonly stopping: boolean
  isPaused(topic: string, partition: number): boolean
}

const consumerChanged = emitter('consumer-changed')

/** Ends all work when `signal` aborts, and, where the consumer is known, when it stopped or crashed. */
export function membership(consumer: WatchedConsumer | undefined, signal: AbortSignal = neverAborts): Membership {
  const running = new Set<ChildSignal>()
  let group: string | null = null
  let crashed = false

  function abortAll(reason: Error): void {
    for (const work of [...running]) work.abort(reason)
  }

  if (consumer !== undefined) {
    const { events } = consumer
    consumer.on(events.GROUP_JOIN, ({ payload }) => {
      group = payload.groupId
      crashed = false
    })
    consumer.on(events.STOP, () => abortAll(new HoldfastError('stopped', 'the consumer was stopped')))
    consumer.on(events.CRASH, ({ payload: { error, groupId, restart } }) => {
      crashed = true
      abortAll(error)
      if (consumerChanged.active())
        consumerChanged.publish({ system: 'kafka', group: groupId, change: 'crashed', detail: { restart }, error })
    })
    // Its loop must know that it ends before our error reaches it: then that error is no crash.
    signal.addEventListener('abort', () => void consumer.stop().catch(() => {}), { once: true })
  }

  return {
    get group() {
      return group
    },
    get crashed() {
      return crashed
    },
    get stopping() {
      return signal.aborted
    },
    begin() {
      const work = new ChildSignal(signal)
      running.add(work)
      return work
    },
    end(work) {
      running.delete(work)
      work.end()
    },
    isPaused: (topic, partition) =>
      consumer?.paused().some((each) => each.topic === topic && each.partitions.includes(partition)) ?? false,
  }
}

/**
 * What makes kafkajs let go of a message without committing it. It commits what returns, and tries again, restarts
 * and joins again after most errors: only one that says it cannot be retried makes it leave the group, once and for all.
 */
export function letGo(because: string, { stopsByItself }: { readonly stopsByItself: boolean }): Error {
  return Object.assign(new HoldfastError('stopped', because), { retriable: stopsByItself })
}
