import { sleep } from '../core/clock.ts'
import type { Outcome } from '../core/delivery.ts'
import { isRetryLater } from '../core/errors.ts'
import { withHeaders } from '../core/message.ts'
import type { Pipeline } from '../core/pipeline.ts'
import { redriveHeader, redriveText } from '../core/redrive.ts'
import { keepRenewing, type RedriveContext, type Route } from './redrive-route.ts'
import type { ActiveRedrive, Begun, Lane, RedriveResult } from './store.ts'

const longestWaitMs = 60_000

/** Hands letters to the pipelines that failed, key by key in the order of their deaths. */
export function redriveThroughPipeline(context: RedriveContext, pipelines: ReadonlyMap<string, Pipeline>): Route {
  const { store, owner, leaseMs, concurrency, stopKeyOnDeath, clock } = context
  const names = [...pipelines.keys()]

  return async function throughPipeline(redrive, signal) {
    const lanes = await store.claimLanes(redrive.id, concurrency, { owner, leaseMs, pipelines: names })
    const begun = await Promise.allSettled(lanes.map((lane) => runLane(redrive, lane, signal)))
    const failed = begun.find((each) => each.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    return lanes.length
  }

  async function runLane(redrive: ActiveRedrive, lane: Lane, signal: AbortSignal): Promise<void> {
    const end = keepRenewing(context, redrive.id, [lane])
    try {
      for (;;) {
        // Before the letter is begun: one that is paused meanwhile stays dead.
        const waitMs = await store.reserve(redrive.id, 1)
        if (waitMs === null) return await store.wait(redrive.id, lane, 0)
        try {
          if (waitMs > 0) await sleep(clock, waitMs, signal)
          signal.throwIfAborted()
        } catch {
          return await store.wait(redrive.id, lane, 0)
        }
        const [begun] = await store.begin(redrive.id, [lane], 1)
        if (begun === undefined) {
          if ((await store.advance(redrive.id, lane, [], { keepForMs: leaseMs })) !== 'more') return
          continue
        }
        const result = await send(begun, signal)
        if (typeof result === 'number') return await store.wait(redrive.id, lane, result)
        const settled = [{ letter: begun.letter.id, result }]
        const stop = stopKeyOnDeath && result === 'dead' && begun.letter.key !== null
        if ((await store.advance(redrive.id, lane, settled, { stop, keepForMs: leaseMs })) !== 'more') return
      }
    } finally {
      end()
    }
  }

  /** How the letter ended; a number: it is to be sent again after so many ms. */
  async function send({ letter, generation }: Begun, signal: AbortSignal): Promise<RedriveResult | number> {
    const pipeline = pipelines.get(letter.pipeline)
    if (pipeline === undefined) return longestWaitMs
    const { messageId: id, key, type, producedMs: timeMs, body, origin } = letter
    const permission = redriveText({ generation, destination: origin.destination })
    const headers = withHeaders(letter.headers, { [redriveHeader]: permission })
    let outcome: Outcome
    try {
      outcome = await pipeline.dispatch({ message: { id, key, type, timeMs, body, headers }, origin, signal })
    } catch (error) {
      return isRetryLater(error) ? Math.min(Math.max(error.afterMs, 50), longestWaitMs) : 1000
    }
    if (outcome === 'dead-lettered') {
      // Where the pipeline's own dead letters go to this store it knows already, and this changes nothing.
      await store.diedAgain(letter.id, generation)
      return 'dead'
    }
    if (outcome === 'parked') return 'sent'
    const { destination } = origin
    await store.resolved([{ pipeline: letter.pipeline, destination, id, key, body, generation }])
    return 'resolved'
  }
}
