import type { Report, Scenario } from '../scenario.ts'
import { burst, type BurstPlan, type BurstResult, type BurstTransport } from '../poison/burst.ts'
import { kafkaTransport, memoryTransport } from '../poison/transports.ts'
import { stacks, type Poison } from '../poison/stacks.ts'

const sizes = [5, 10, 20, 64]
/** A failed call or two in a row may cost others a window of the circuit. */
const allowedMs: Readonly<Record<Poison, number>> = { bug: 500, outage: 6_000 }

interface Outcome {
  readonly what: string
  readonly plan: BurstPlan
  readonly result: BurstResult
  readonly withoutMs: number
}

export const poisonBurst: Scenario = {
  name: 'poison-burst',
  what: 'bursts of 5 to 64 poison messages in a steady flow, a bug or what looks like an outage, on every stack that the docs show, in memory and on Kafka',
  promise: `no good message is lost, doubled or dead-lettered, and the slowest of them is at most ${allowedMs.bug} ms slower than without the poison (${allowedMs.outage} ms where the poison looks like an outage and there is a circuit)`,
  needs: ['kafka'],
  async run(how) {
    const outcomes: Outcome[] = []
    const seen = async (on: string, make: () => Promise<BurstTransport>, plan: BurstPlan, withoutMs: number) => {
      const result = await burst(await make(), plan)
      const what = `${on}, ${plan.stack}, ${plan.size} × ${plan.poison}`
      how.say(
        `${what}: slowest good ${Math.round(result.slowestMs)} ms (${Math.round(withoutMs)} without), ${result.deadPoison} dead, ${result.lost} of ${result.good} good lost`,
      )
      outcomes.push({ what, plan, result, withoutMs })
    }
    const planOf = (stack: string, poison: Poison, size: number, forMs: number): BurstPlan => ({
      ...{ stack, poison, size, forMs, seed: how.seed },
    })
    for (const stack of Object.keys(stacks)) {
      const { slowestMs } = await burst(memoryTransport(), planOf(stack, 'bug', 0, 60_000))
      for (const poison of ['bug', 'outage'] as const)
        for (const size of sizes)
          await seen('memory', async () => memoryTransport(), planOf(stack, poison, size, 60_000), slowestMs)
    }
    const forMs = how.full ? 60_000 : 8_000
    for (const stack of how.full ? Object.keys(stacks) : ['resilient()', 'resilient(), payments.run()'])
      for (const poison of ['bug', 'outage'] as const) {
        const run = async (size: number) => {
          const kafka = await kafkaTransport(how.url('kafka'))
          return burst(kafka, planOf(stack, poison, size, forMs)).finally(() => kafka.close())
        }
        const { slowestMs } = await run(0)
        const plan = planOf(stack, poison, 20, forMs)
        const result = await run(20)
        const what = `Kafka, ${stack}, 20 × ${poison}`
        how.say(`${what}: slowest good ${Math.round(result.slowestMs)} ms (${Math.round(slowestMs)} without)`)
        outcomes.push({ what, plan, result, withoutMs: slowestMs })
      }
    return reportOf(outcomes)
  },
}

function reportOf(outcomes: readonly Outcome[]): Report {
  const sum = (of: (result: BurstResult) => number): number => outcomes.reduce((all, { result }) => all + of(result), 0)
  const violations = outcomes.flatMap(({ what, plan, result, withoutMs }) => [
    ...(result.deadGood === 0 ? [] : [`${what}: ${result.deadGood} good messages dead-lettered`]),
    ...(result.slowestMs <= withoutMs + allowedMs[plan.poison]
      ? []
      : [
          `${what}: the slowest good message took ${Math.round(result.slowestMs)} ms, ${Math.round(withoutMs)} without poison`,
        ]),
    ...(plan.poison === 'outage' || result.deadPoison === plan.size
      ? []
      : [`${what}: ${result.deadPoison} poison messages dead-lettered`]),
  ])
  const slowest = (poison: Poison): string => {
    const [first] = outcomes
      .filter(({ plan }) => plan.poison === poison)
      .toSorted((a, b) => b.result.slowestMs - a.result.slowestMs)
    return first === undefined ? '-' : `${Math.round(first.result.slowestMs)} ms (${first.what})`
  }
  return {
    injected: {
      'bursts of a bug': outcomes.filter(({ plan }) => plan.poison === 'bug').length,
      'bursts that look like an outage': outcomes.filter(({ plan }) => plan.poison === 'outage').length,
      'poison messages dead-lettered': sum(({ deadPoison }) => deadPoison),
    },
    ...{ messages: sum(({ good }) => good), lost: sum(({ lost }) => lost), doubled: sum(({ doubled }) => doubled) },
    ...{ outOfOrder: null, recoveryMs: null, violations },
    notes: `slowest good message beside a bug ${slowest('bug')}; beside what looks like an outage ${slowest('outage')}`,
  }
}
