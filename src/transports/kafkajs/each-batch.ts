import type { EachBatchPayload, KafkaMessage } from 'kafkajs'
import { systemClock } from '../../core/clock.ts'
import { RetryLater } from '../../core/errors.ts'
import type { HasHealth } from '../../core/health.ts'
import { keyFromBytes } from '../../core/message.ts'
import {
  anything,
  callback,
  checkOptions,
  clockKind,
  having,
  requireCount,
  requireMethods,
  requireMs,
  signalKind,
} from '../../core/options.ts'
import { lanes } from '../../consumer/lanes.ts'
import { attemptAfter } from '../../consumer/redelivery.ts'
import type { LaneTrack } from '../../consumer/track.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { ChildSignal } from '../../core/signals.ts'
import { requireBeats } from '../../consumer/log/settings.ts'
import { deliveryFrom } from './codec.ts'
import type { EachMessageOptions } from './each-message.ts'
import { heartbeats } from './heartbeats.ts'
import { letGo, membership } from './membership.ts'

export interface EachBatchOptions extends EachMessageOptions {
  /** Most messages in flight over all running batches, at most one per key. @defaultValue 16 */
  readonly concurrency?: number
}

interface Batch {
  readonly payload: EachBatchPayload
  readonly work: ChildSignal
  readonly idle: () => void
  running: number
  /** Set when nothing more may start: what to throw. */
  ended: Error | undefined
}

interface Item {
  readonly batch: Batch
  readonly message: KafkaMessage
  id: string
}

/**
 * A handler for `consumer.run({ eachBatch })`, with or without `eachBatchAutoResolve`. Keys run in parallel, each in order.
 * It resolves offsets without gaps, never past an unacked message. A nacked message holds its key, and so the batch.
 */
export function eachBatch(
  pipeline: Pipeline,
  options: EachBatchOptions = {},
): ((payload: EachBatchPayload) => Promise<void>) & HasHealth {
  const {
    id,
    signal,
    consumer,
    concurrency = 16,
    redeliverMs = 1000,
    heartbeatMs = 1000,
    sessionMs = 30_000,
    clock = systemClock,
  } = checkOptions('eachBatch', options, {
    id: callback,
    signal: signalKind,
    consumer: having('on'),
    concurrency: anything,
    redeliverMs: anything,
    heartbeatMs: anything,
    sessionMs: anything,
    clock: clockKind,
  })
  requireMethods('eachBatch', 'pipeline', pipeline, ['step'])
  requireCount('eachBatch', { concurrency })
  requireMs('eachBatch', { redeliverMs, heartbeatMs, sessionMs })
  requireBeats('eachBatch', heartbeatMs, sessionMs)
  const member = membership(consumer, signal)
  const beats = heartbeats(clock, heartbeatMs, sessionMs)
  const tracks = new Set<LaneTrack<Item>>()
  const keyed = lanes<Item>({
    concurrency,
    // The batch is the bound.
    ahead: Number.MAX_SAFE_INTEGER,
    redeliverMs,
    clock,
    run: runOne,
    onNack: (item, error, attempt) => attemptAfter(error, item.id, attempt),
  })

  async function runOne(item: Item, key: string | null, attempt: number): Promise<void> {
    const { batch, message } = item
    const { topic, partition } = batch.payload.batch
    checkOn(batch)
    if (hasEnded(batch)) throw new RetryLater(sessionMs)
    batch.running++
    try {
      const delivery = deliveryFrom(
        { topic, partition, message },
        { pipeline: pipeline.name, group: member.group, attempt, signal: batch.work.signal, id, key },
      )
      item.id = delivery.message.id
      await pipeline.step(delivery)
    } finally {
      batch.running--
      if (batch.running === 0 && hasEnded(batch)) batch.idle()
    }
  }

  /** kafkajs says only when asked that the consumer stops, or was told to go elsewhere. */
  function checkOn(batch: Batch): void {
    if (member.stopping || !batch.payload.isRunning()) end(batch, stopped())
    else if (batch.payload.isStale()) end(batch, letGo('the partition was sought elsewhere', { stopsByItself: true }))
  }

  function end(batch: Batch, reason: Error): void {
    if (batch.ended !== undefined) return
    batch.ended = reason
    batch.work.abort(reason)
    if (batch.running === 0) batch.idle()
  }

  async function eachBatch(payload: EachBatchPayload): Promise<void> {
    const { messages } = payload.batch
    if (messages.length === 0) return
    const { promise, resolve: idle } = Promise.withResolvers<void>()
    const batch: Batch = { payload, work: member.begin(), idle, running: 0, ended: undefined }
    const onAbort = (): void => end(batch, stopped())
    batch.work.signal.addEventListener('abort', onAbort, { once: true })
    const beating = {
      async heartbeat() {
        checkOn(batch)
        await payload.heartbeat()
        await payload.commitOffsetsIfNecessary()
      },
      lost: (error: Error) => end(batch, error),
    }
    beats.add(beating)
    let resolved = 0
    const track = keyed.open({
      onDone() {
        const { passed, size } = track.window
        const last = messages[passed - 1]
        if (passed > resolved && last !== undefined) payload.resolveOffset(last.offset)
        resolved = passed
        if (size === 0) idle()
      },
    })
    tracks.add(track)
    try {
      for (const message of messages) keyed.add(track, keyFromBytes(message.key), { batch, message, id: '' })
      await promise
      // The lanes hear of the last one a few microtasks after it ended.
      await new Promise((resolve) => setImmediate(resolve))
      // kafkajs may resolve the whole batch once this returns.
      if (track.window.size > 0) throw batch.ended ?? stopped()
    } finally {
      batch.work.signal.removeEventListener('abort', onAbort)
      tracks.delete(track)
      keyed.close(track)
      beats.remove(beating)
      member.end(batch.work)
    }
  }

  function stopped(): Error {
    return letGo('shutting down: the batch was not finished, and the rest comes again', {
      stopsByItself: consumer !== undefined || signal?.aborted !== true,
    })
  }

  return Object.assign(eachBatch, {
    health() {
      const held = sum(tracks, (track) => track.held.size)
      const abandoned = sum(tracks, (track) => track.abandoned)
      return {
        name: `kafka ${pipeline.name}`,
        live: true,
        ready: !member.crashed && abandoned === 0 && !keyed.halted,
        details: { group: member.group, crashed: member.crashed, inFlight: keyed.inFlight, held, abandoned },
      }
    },
  })
}

function hasEnded(batch: Batch): boolean {
  return batch.ended !== undefined
}

function sum<T>(all: Iterable<T>, count: (each: T) => number): number {
  let total = 0
  for (const each of all) total += count(each)
  return total
}
