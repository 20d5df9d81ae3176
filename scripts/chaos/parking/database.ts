import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { server } from '../../../test/outbox/standby.ts'
import { faultProxy } from '../../../test/support/fault-proxy.ts'
import { privatePostgres } from '../../../test/support/private-servers.ts'
import type { Settings } from './settings.ts'

/** The PostgreSQL of a run. */
export interface Database {
  readonly url: string
  /** What happens to it in mid load, one after the other. */
  readonly troubles: readonly { readonly name: string; readonly strike: () => Promise<void> }[]
  dispose(): Promise<void>
}

/** `addressOf` gives the address of a service. */
export async function databaseFor(
  { restarts, failover, database }: Settings,
  addressOf: (service: string) => Promise<string>,
): Promise<Database> {
  if (failover) return withStandby()
  if (restarts > 0) return restarted(restarts, database === 'postgres18' ? 'embedded' : 'debian')
  const url = database.includes('://') ? database : await addressOf(database)
  return { url, troubles: [], dispose: async () => {} }
}

async function restarted(times: number, flavour: 'embedded' | 'debian'): Promise<Database> {
  const own = await privatePostgres({ flavour })
  const trouble = (signal: 'SIGKILL' | 'SIGQUIT') => ({
    name: `${signal} of PostgreSQL`,
    async strike() {
      await own.kill(signal)
      await sleep(500)
      await own.start()
    },
  })
  return {
    url: own.url,
    troubles: Array.from({ length: times }, (_, n) => trouble(n % 2 === 0 ? 'SIGKILL' : 'SIGQUIT')),
    dispose: () => own.dispose(),
  }
}

/** What the primary has confirmed is on the standby. The address moves with the promotion. */
async function withStandby(): Promise<Database> {
  const primary = await server()
  const standby = await primary.standby()
  const proxy = await faultProxy(primary.url)
  await runOn(primary.url, "alter system set synchronous_standby_names = '*'", 'select pg_reload_conf()')
  return {
    url: primary.url.replace(/@[^/]+/, `@${proxy.address}`),
    troubles: [
      {
        name: 'failover of PostgreSQL',
        async strike() {
          proxy.refuse()
          await primary.dispose()
          await runOn(standby.url, 'select pg_promote()')
          proxy.retarget(standby.url)
          proxy.restore()
        },
      },
    ],
    async dispose() {
      await proxy.dispose()
      await Promise.all([primary.dispose(), standby.dispose()])
    },
  }
}

async function runOn(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  for (const statement of statements) await client.query(statement)
  await client.end()
}
