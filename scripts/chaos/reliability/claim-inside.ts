import { seeded } from '../../../src/transports/memory/random.ts'
import { insideRun, type InsideCounts } from '../inside/run.ts'
import type { InsideRun } from '../inside/settings.ts'
import type { Scenario } from '../scenario.ts'

const common = { isolation: 'read committed', mode: 'single' } as const
const runs: readonly InsideRun[] = [
  { ...common, name: 'single', messages: 4_000 },
  { ...common, name: 'batches', mode: 'batch', messages: 4_000 },
  { ...common, name: 'REPEATABLE READ', isolation: 'repeatable read', messages: 800 },
  { ...common, name: 'SERIALIZABLE', isolation: 'serializable', messages: 800 },
  { ...common, name: 'SERIALIZABLE, batches', isolation: 'serializable', mode: 'batch', messages: 1_600 },
  { ...common, name: 'pgbouncer', pooled: true, messages: 1_000 },
  { ...common, name: 'pgbouncer, batches', pooled: true, mode: 'batch', messages: 1_000 },
]
const shortened = 5

export const claimInside: Scenario = {
  name: 'claim-inside',
  what: 'three processes claim inside the transaction of the handler and are killed with -9, or stopped for longer than the server lets a transaction be silent; 30 % of the messages are sent twice at the same moment, half of the redeliveries are wrongly called first, and 1 % are poison; alone and in batches, under three isolation levels, and through pgbouncer',
  promise: 'effects once, nothing lost, and no effect of a message that is dead-lettered',
  needs: ['postgres'],
  breaks: { 'ignores-known': 'goes on with a key that is known' },
  async run(how) {
    const { seed, full, broken, say } = how
    const random = seeded(seed)
    const all: InsideCounts[] = []
    // What is planted shows in the first run.
    for (const run of broken === undefined ? runs : runs.slice(0, 1)) {
      const counts = await insideRun({ ...run, messages: full ? run.messages : run.messages / shortened }, how, random)
      say(`${run.name}: ${JSON.stringify(counts)}`)
      all.push(counts)
    }
    const sum = (of: keyof InsideCounts): number => all.reduce((total, counts) => total + counts[of], 0)
    const [poisonEffects, poisonNotDead, unsettled] = [sum('poisonEffects'), sum('poisonNotDead'), sum('unsettled')]
    return {
      injected: { 'kill -9': sum('kills'), SIGSTOP: sum('stops'), 'duplicates at the same moment': sum('duplicates') },
      messages: sum('messages'),
      lost: sum('lost'),
      doubled: sum('doubled'),
      ...{ outOfOrder: null, recoveryMs: null },
      violations: [
        ...(poisonEffects === 0 ? [] : [`${poisonEffects} effects of poison`]),
        ...(poisonNotDead === 0 ? [] : [`${poisonNotDead} poison messages without a dead letter`]),
        ...(unsettled === 0 ? [] : [`${unsettled} not settled`]),
      ],
      notes: `runs: ${all.length}, of ${runs
        .map(({ name }) => name)
        .slice(0, all.length)
        .join('; ')}`,
    }
  },
}
