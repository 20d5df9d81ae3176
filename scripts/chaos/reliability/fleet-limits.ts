import pg from 'pg'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { privateRedis } from '../../../test/support/private-servers.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import { limitsRun, processes, type LimitsCounts } from '../limits/run.ts'
import { maxConcurrent, names, type Tenant } from '../limits/settings.ts'
import type { Scenario } from '../scenario.ts'

/** Of what a small tenant sends, this part is handled while another one floods. */
const leastShare = 0.8
const leastStarts = 1_000

export const fleetLimits: Scenario = {
  name: 'fleet-limits',
  what: `${processes} processes share ${maxConcurrent} places for each of ${names.length} tenants; one tenant floods; processes are killed with -9 in mid work, and stopped for longer than their lease of places`,
  promise: `never more than ${maxConcurrent} of one tenant at once, in at least ${leastStarts} starts; the other tenants get at least ${leastShare} of what they send, in the calm run`,
  needs: [],
  breaks: {
    'running-not-counted': 'a place is free as soon as its process asks again, though its work still runs',
    'each-for-itself': 'the places of the other processes are not counted',
  },
  async run({ seed, full, broken, say, signal }) {
    const redis = await privateRedis()
    const common = { redisUrl: redis.url, planted: broken ?? null, random: seeded(seed), signal }
    try {
      const attacked = await limitsRun({
        ...common,
        limited: true,
        attack: true,
        starts: leastStarts / 2,
        seconds: full ? 60 : 30,
      })
      say(`under attack: ${JSON.stringify(attacked)}`)
      if (broken !== undefined) return reportOf(attacked, undefined)
      const calm = await limitsRun({ ...common, limited: true, attack: false, starts: leastStarts / 2, seconds: 20 })
      say(`calm: ${JSON.stringify(calm)}`)
      if (!full) return reportOf(attacked, calm)
      const inPostgres = await onPostgres((postgres) =>
        limitsRun({ ...common, postgres, limited: true, attack: true, starts: leastStarts / 2, seconds: 60 }),
      )
      say(`places in PostgreSQL, under attack: ${JSON.stringify(inPostgres)}`)
      return reportOf(attacked, calm, inPostgres)
    } finally {
      await redis.dispose()
    }
  },
}

/** With tables of its own on the shared server. */
async function onPostgres<T>(work: (postgres: { readonly url: string; readonly schema: string }) => Promise<T>) {
  const { url } = await up(serviceNamed('postgres'), () => {})
  const schema = uniqueName('limits')
  const pool = new pg.Pool({ connectionString: url, max: 1 })
  try {
    await migrate(pool, { schema, features: ['limits'] })
    return await work({ url, schema })
  } finally {
    await pool.query(`drop schema if exists ${schema} cascade`).catch(() => {})
    await pool.end()
  }
}

function reportOf(attacked: LimitsCounts, calm: LimitsCounts | undefined, inPostgres?: LimitsCounts) {
  const all = [attacked, calm, inPostgres].filter((each) => each !== undefined)
  const over = all.reduce((sum, each) => sum + each.over, 0)
  const starts = all.reduce((sum, each) => sum + each.starts, 0)
  const peak = Math.max(...all.map((each) => each.peak))
  const small =
    calm === undefined
      ? []
      : names.filter((name) => name !== 'flood').map((name) => [name, shareOf(calm, name)] as const)
  const starved = small.filter(([, share]) => share < leastShare)
  const rates = calm === undefined ? '' : names.map((name) => rateOf(calm, name)).join(', ')
  return {
    injected: { 'kill -9': attacked.kills, SIGSTOP: attacked.stops },
    messages: starts,
    ...{ lost: 0, doubled: 0, outOfOrder: null, recoveryMs: null },
    violations: [
      ...(over === 0 ? [] : [`${over} starts above the limit, at most ${peak} at once`]),
      ...(starts >= leastStarts ? [] : [`only ${starts} starts`]),
      ...starved.map(([name, share]) => `${name} got ${share.toFixed(2)} of what it sends`),
    ],
    notes: `starts are counted where the calls arrive: ${over} of ${starts} above the limit; handled a second: ${rates}; ${(calm ?? attacked).deliveriesPerMessage.toFixed(2)} deliveries for each message; ${(calm ?? attacked).lostPlaces} lost their place while they ran`,
  }
}

/** The part of what a tenant sends that is handled. */
function shareOf({ sentPerSecond, donePerSecond }: LimitsCounts, name: Tenant): number {
  return donePerSecond[name] / Math.max(0.01, sentPerSecond[name])
}

function rateOf({ sentPerSecond, donePerSecond, waitedMs }: LimitsCounts, name: Tenant): string {
  return `${name} ${donePerSecond[name].toFixed(1)} of ${sentPerSecond[name].toFixed(1)} after ${waitedMs[name]} ms`
}
