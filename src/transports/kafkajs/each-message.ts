import { asError } from '../../core/as-error.ts'
import type { EachMessagePayload } from 'kafkajs'
import { sleep, systemClock, type Clock } from '../../core/clock.ts'
import { isAbandoned } from '../../core/errors.ts'
import type { HasHealth } from '../../core/health.ts'
import {
  anything,
  callback,
  checkOptions,
  clockKind,
  having,
  requireMethods,
  requireMs,
  signalKind,
} from '../../core/options.ts'
import { attemptAfter, redelivery } from '../../consumer/redelivery.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { requireBeats } from '../../consumer/log/settings.ts'
import { deliveryFrom, type MessageId } from './codec.ts'
import { heartbeats } from './heartbeats.ts'
import { letGo, membership, type WatchedConsumer } from './membership.ts'

export interface EachMessageOptions {
  /** Returns the message's id. @defaultValue the `message-id` or `ce_id` header, else the position */
  readonly id?: MessageId
  /** Abort it on SIGTERM. The running handler's signal aborts, all waits end, and unfinished messages are not committed. */
  readonly signal?: AbortSignal
  /** The kafkajs consumer that runs this handler. With it pauses are respected, and a crash ends the work and shows in `health()`. */
  readonly consumer?: WatchedConsumer
  /** First redelivery delay in ms, if the error gives none. It doubles with each nack, up to 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** Interval of heartbeat calls in ms. kafkajs sends at most one heartbeat per `heartbeatInterval`. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /** The consumer's `sessionTimeout` in ms. After that long without a heartbeat, the partition counts as lost. @defaultValue 30_000 */
  readonly sessionMs?: number
  readonly clock?: Clock
}

/**
 * A handler for `consumer.run({ eachMessage })`. It returns to kafkajs only when the message is acked. After a nack it waits
 * and sends heartbeats, and the partition waits too. kafkajs sees no handler errors, only errors of its own heartbeats.
 */
export function eachMessage(
  pipeline: Pipeline,
  options: EachMessageOptions = {},
): ((payload: EachMessagePayload) => Promise<void>) & HasHealth {
  const {
    id,
    signal,
    consumer,
    redeliverMs = 1000,
    heartbeatMs = 1000,
    sessionMs = 30_000,
    clock = systemClock,
  } = checkOptions('eachMessage', options, {
    id: callback,
    signal: signalKind,
    consumer: having('on'),
    redeliverMs: anything,
    heartbeatMs: anything,
    sessionMs: anything,
    clock: clockKind,
  })
  requireMethods('eachMessage', 'pipeline', pipeline, ['step'])
  requireMs('eachMessage', { redeliverMs, heartbeatMs, sessionMs })
  requireBeats('eachMessage', heartbeatMs, sessionMs)
  const member = membership(consumer, signal)
  const beats = heartbeats(clock, heartbeatMs, sessionMs)
  const holding = new Map<string, number>()
  let abandoned = 0

  async function eachMessage(payload: EachMessagePayload): Promise<void> {
    const { topic, partition, message } = payload
    if (member.stopping) throw stopped()
    const work = member.begin()
    let lost: Error | undefined
    const beating = {
      heartbeat: () => payload.heartbeat(),
      lost(error: Error) {
        lost = error
        work.abort(error)
      },
    }
    beats.add(beating)
    try {
      let attempt = 1
      for (let nacks = 0; ; nacks++) {
        let messageId = ''
        const context = { pipeline: pipeline.name, group: member.group, attempt, signal: work.signal, id }
        const error = await nackOf(() => {
          const delivery = deliveryFrom(payload, context)
          messageId = delivery.message.id
          return pipeline.step(delivery)
        })
        if (isLost(lost)) throw lost
        if (error === acked) return
        if (work.signal.aborted) throw stopped()
        attempt = attemptAfter(error, messageId, attempt)
        holding.set(`${topic}/${partition}`, Number(message.offset))
        await hold(error, nacks, work.signal, () => member.isPaused(topic, partition)).catch(() => {
          throw lost ?? stopped()
        })
      }
    } finally {
      holding.delete(`${topic}/${partition}`)
      beats.remove(beating)
      member.end(work)
    }
  }

  async function hold(error: unknown, nacks: number, ended: AbortSignal, isPaused: () => boolean): Promise<void> {
    if (isAbandoned(error)) await untilSettled(error.settled, ended)
    else await sleep(clock, redelivery(error, nacks, redeliverMs).afterMs, ended)
    while (isPaused()) await sleep(clock, heartbeatMs, ended)
  }

  async function untilSettled(settled: Promise<unknown>, ended: AbortSignal): Promise<void> {
    abandoned++
    try {
      await new Promise<void>((resolve, reject) => {
        settled.then(
          () => resolve(),
          () => resolve(),
        )
        ended.addEventListener('abort', () => reject(asError(ended.reason)), { once: true })
      })
    } finally {
      abandoned--
    }
  }

  function stopped(): Error {
    return letGo('shutting down: the message was not finished, and comes again', {
      stopsByItself: consumer !== undefined,
    })
  }

  return Object.assign(eachMessage, {
    health: () => ({
      name: `kafka ${pipeline.name}`,
      live: true,
      ready: !member.crashed && abandoned === 0,
      details: { group: member.group, crashed: member.crashed, abandoned, holding: Object.fromEntries(holding) },
    }),
  })
}

/** Set by a heartbeat, out of the compiler's sight. */
function isLost(error: Error | undefined): error is Error {
  return error !== undefined
}

const acked = Symbol('acked')

async function nackOf(step: () => Promise<unknown>): Promise<unknown> {
  try {
    await step()
    return acked
  } catch (error) {
    return error
  }
}
