import { Buffer } from 'node:buffer'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import type { Pipeline } from '../../../src/core/pipeline.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { memoryIdempotencyStore } from '../../../src/idempotency/memory-store.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import { stacks, type Poison, type Sent } from './stacks.ts'

export interface BurstPlan {
  readonly stack: string
  readonly poison: Poison
  /** How many poison messages come at once; 0 for the run to compare with. */
  readonly size: number
  /** How long good messages are sent, one each 50 ms. */
  readonly forMs: number
  readonly seed: number
}

/** A transport that a burst is run on. */
export interface BurstTransport {
  readonly clock: Clock
  readonly destination: string
  publish(messages: readonly Outgoing[]): Promise<void>
  /** Starts a consumer; the returned function ends it. */
  consume(pipeline: Pipeline): Promise<() => Promise<void>>
  /** Lets that much time pass. */
  wait(ms: number): Promise<void>
}

export interface BurstResult {
  readonly good: number
  readonly lost: number
  readonly doubled: number
  readonly deadPoison: number
  readonly deadGood: number
  /** From sending a good message to its effect, the longest. */
  readonly slowestMs: number
}

const everyMs = 50
const burstAtMs = 2_000
const settleMs = 90_000

/** A steady flow of good messages, each of its own key, and one burst of poison in it. */
export async function burst(transport: BurstTransport, plan: BurstPlan): Promise<BurstResult> {
  const { clock, destination } = transport
  const dead = { poison: new Set<string>(), good: new Set<string>() }
  const effects = new Map<number, number>()
  let slowestMs = 0
  const build = stacks[plan.stack]
  if (build === undefined) throw new RangeError(`there is no stack '${plan.stack}'`)
  const pipeline = build({
    name: `poison-burst-${plan.seed}`,
    clock,
    random: seeded(plan.seed),
    store: memoryIdempotencyStore({ clock }),
    deadLetters: {
      publish: async (messages) => {
        for (const { id } of messages) dead[id.startsWith('poison') ? 'poison' : 'good'].add(id)
      },
    },
    handled({ atMs }) {
      effects.set(atMs, (effects.get(atMs) ?? 0) + 1)
      slowestMs = Math.max(slowestMs, clock.now() - atMs)
    },
  })
  const message = (id: string, sent: Sent): Outgoing =>
    outgoing({ destination, id, key: id, body: Buffer.from(JSON.stringify(sent)) })

  const stop = await transport.consume(pipeline)
  try {
    const startedMs = clock.now()
    let sent = 0
    let bursts = plan.size === 0 ? 0 : 1
    while (clock.now() - startedMs < plan.forMs) {
      const atMs = clock.now()
      if (bursts > 0 && atMs - startedMs >= burstAtMs) {
        bursts--
        const poison = Array.from({ length: plan.size }, (_, n) => message(`poison${n}`, { atMs, poison: plan.poison }))
        await transport.publish(poison)
      }
      // The time stands for the message: no two are sent in one instant.
      await transport.publish([message(`good${sent++}`, { atMs, poison: null })])
      await transport.wait(everyMs)
    }
    const isDone = (): boolean => effects.size + dead.good.size >= sent
    const endMs = clock.now() + settleMs
    while (!isDone() && clock.now() < endMs) await transport.wait(everyMs)
    // Poison that looks like an outage ends only while others are answered.
    for (let n = 0; n < 200 && dead.poison.size < plan.size && plan.poison === 'bug'; n++) await transport.wait(everyMs)
    const doubled = [...effects.values()].reduce((sum, count) => sum + count - 1, 0)
    return {
      ...{ good: sent, lost: sent - effects.size - dead.good.size, doubled },
      ...{ deadPoison: dead.poison.size, deadGood: dead.good.size, slowestMs },
    }
  } finally {
    await stop()
  }
}
