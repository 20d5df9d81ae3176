import { sleep } from '../core/clock.ts'
import { emitter } from '../core/events.ts'
import { withHeaders } from '../core/message.ts'
import { failuresIn, type Outgoing, type Publisher } from '../core/publisher.ts'
import { redriveHeader, redriveText, redriveToHeader, redriveToText } from '../core/redrive.ts'
import { keepRenewing, type RedriveContext, type Route } from './redrive-route.ts'
import type { ActiveRedrive, Begun, Lane } from './store.ts'

const mostLanes = 300
const mostPerLane = 20
const retryMs = 1000
const deadLetterFailed = emitter('store-failed')

/** Publishes letters to their original destination. Other groups there handle them again, and may go back to an older value. */
export function redriveThroughDestination(
  context: RedriveContext,
  publisher: Publisher,
  targetPipeline: boolean,
): Route {
  const { store, owner, leaseMs, clock } = context

  return async function throughDestination(redrive, signal) {
    // Pages of a tenth of a second: a page of a whole second is a burst.
    const { id, perSecond } = redrive
    const page = perSecond === null ? mostLanes * mostPerLane : Math.max(1, Math.floor(perSecond / 10))
    const lanes = await store.claimLanes(id, Math.min(mostLanes, page), { owner, leaseMs, pipelines: null })
    if (lanes.length === 0) return 0
    const end = keepRenewing(context, id, lanes)
    try {
      return await sendPage(redrive, lanes, Math.max(1, Math.min(mostPerLane, Math.floor(page / lanes.length))), signal)
    } finally {
      end()
    }
  }

  async function sendPage(
    { id }: ActiveRedrive,
    lanes: readonly Lane[],
    perLane: number,
    signal: AbortSignal,
  ): Promise<number> {
    const begun = await store.begin(id, lanes, perLane)
    if (begun.length === 0) {
      await store.advanceMany(id, lanes, [], 'sent')
      return lanes.length
    }
    const waitMs = await store.reserve(id, begun.length)
    if (waitMs === null) return giveBack(id, lanes, 0)
    try {
      if (waitMs > 0) await sleep(clock, waitMs, signal)
      await publish(begun, signal)
    } catch (error) {
      if (signal.aborted) return giveBack(id, lanes, 0)
      return failed(id, lanes, begun, error)
    }
    const sent = begun.map(({ letter }) => letter.id)
    await store.advanceMany(id, lanes, sent, 'sent')
    return lanes.length
  }

  function publish(begun: readonly Begun[], signal: AbortSignal): Promise<void> {
    const messages = begun.map(({ letter, generation }): Outgoing => {
      const { messageId: id, key, type, producedMs: timeMs, body, pipeline } = letter
      const { destination } = letter.origin
      const headers = withHeaders(letter.headers, {
        [redriveHeader]: redriveText({ generation, destination }),
        ...(targetPipeline && { [redriveToHeader]: redriveToText(pipeline, destination, id) }),
      })
      return { id, key, type, timeMs, body, headers, destination }
    })
    return publisher.publish(messages, { signal })
  }

  /** What was refused for good is dead again; all else is sent again, in its order and under the same generation. */
  async function failed(id: string, lanes: readonly Lane[], begun: readonly Begun[], error: unknown): Promise<number> {
    if (deadLetterFailed.active()) deadLetterFailed.publish({ store: 'dead-letter', operation: 'redrive', error })
    for (const { index, permanent } of failuresIn(error, begun.length) ?? []) {
      const refused = begun[index]
      if (!permanent || refused === undefined) continue
      await store.diedAgain(refused.letter.id, refused.generation)
      const lane = lanes.find(({ lane: name }) => name === refused.lane)
      if (lane !== undefined)
        await store.advance(id, lane, [{ letter: refused.letter.id, result: 'dead' }], { keepForMs: leaseMs })
    }
    return giveBack(id, lanes, retryMs)
  }

  async function giveBack(id: string, lanes: readonly Lane[], ms: number): Promise<number> {
    for (const lane of lanes) await store.wait(id, lane, ms)
    return lanes.length
  }
}
