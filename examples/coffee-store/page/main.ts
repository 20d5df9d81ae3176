import { setTimeout as sleep } from 'node:timers/promises'
import { catalogue } from 'holdfast/contracts'
import { metrics, processMetrics } from 'holdfast/metrics'
import { tracing } from 'holdfast/tracing'
import { Registry } from 'prom-client'
import { services } from '../contracts.ts'
import type { Options } from '../options.ts'
import { liveAuditOf, type LiveAudit } from './audit.ts'
import type { Database, Wire } from './ground.ts'
import { memoryDatabase, memoryWire } from './memory.ts'
import { didAll, playOnce } from './once.ts'
import { servePage } from './server.ts'
import { CoffeeStore } from './store.ts'
import type { Traces } from './traces.ts'

const ordersEveryMs = 125
const clicksEveryMs = 80
const lookEveryMs = 200

interface Ground {
  readonly wire: Wire
  readonly database: Database
  readonly traces: Traces | null
  readonly registry: Registry
  /** What it stands on, for the title. */
  readonly on: string
}

/** @returns the exit code, once the store is closed. */
export async function runPage(options: Options): Promise<number> {
  const ground = await groundFor(options)
  const { wire, database, traces, registry, on } = ground
  const { seed, naive, once } = options
  const store = new CoffeeStore({
    ...{ wire, database, seed, naive },
    outside: [tracing(), metrics({ registry })],
    patienceMs: on === 'in memory' ? 3_000 : 15_000,
  })
  processMetrics({ registry })
  await store.open()
  try {
    return await (once ? play(store, options, on) : serve(store, options, ground))
  } finally {
    await wire.close()
    await database.close()
    await traces?.stop()
  }
}

async function groundFor({ seed, kafka, postgres, jaeger }: Options): Promise<Ground> {
  // The clients are loaded only where they are used.
  const traces = jaeger === false ? null : await (await import('./traces.ts')).startTraces(jaeger)
  const wire = kafka === false ? memoryWire(seed) : await (await import('./kafka.ts')).kafkaWire(kafka)
  const database =
    postgres === false ? memoryDatabase() : await (await import('./postgres.ts')).postgresDatabase(postgres)
  const on = [wire.name, database.name].filter((name) => name !== '').join(' and ') || 'in memory'
  return { wire, database, traces, registry: new Registry(), on }
}

async function play(store: CoffeeStore, { seed, naive, json }: Options, on: string): Promise<number> {
  const startedMs = performance.now()
  const { audit, shown, ...figures } = await playOnce(store)
  const ok = audit.ok && (naive || didAll(shown))
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10
  const told = { mode: naive ? 'naive' : 'wrapped', on, seed, seconds, ...figures, shown, ...audit, ok }
  if (json) process.stdout.write(`${JSON.stringify(told, null, 2)}\n`)
  else print(audit, `${figures.orders} orders, ${figures.poison} of them poison; shown: ${JSON.stringify(shown)}`)
  return ok ? 0 : 1
}

async function serve(store: CoffeeStore, options: Options, ground: Ground): Promise<number> {
  const { database, traces, registry, on } = ground
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  const complain = (error: unknown) => store.tally.note(String(error), 'bad')
  let look = await store.look()
  const jaeger = traces?.jaeger ?? null
  const letters = database.operatorPage?.('/ops', jaeger) ?? null
  const title = `${options.naive ? 'without' : 'with'} holdfast · ${on} · seed ${options.seed}`
  const page = await servePage({
    port: options.port,
    store,
    see: () => ({
      ...look,
      title,
      links: { letters: letters === null ? null : '/ops', jaeger },
      tally: store.tally,
      switches: store.switches,
      clicksSent: store.clicksSent,
      audit: liveAuditOf(look.figures, store.clicksSent, { closed: false }),
    }),
    mounts: {
      '/events': (_, response) =>
        response
          .setHeader('content-type', 'text/html')
          .end(catalogue(services, { title: 'Events of the coffee store' })),
      '/metrics': (_, response) =>
        void registry.metrics().then((text) => response.setHeader('content-type', registry.contentType).end(text)),
      ...(letters !== null && { '/ops': letters }),
    },
  })
  console.log(`${page.url}\n${title}; Ctrl-C closes the store and prints the audit`)
  const timers = [
    setInterval(() => void store.order(1).catch(complain), ordersEveryMs),
    setInterval(() => void store.click().catch(complain), clicksEveryMs),
  ]
  while (!stopping.signal.aborted) {
    const startedMs = performance.now()
    look = await store.look().catch((error: unknown) => (complain(error), look))
    // A ledger that grew large is read less often.
    await sleep(Math.max(lookEveryMs, 4 * (performance.now() - startedMs)), undefined, stopping).catch(() => {})
  }
  for (const timer of timers) clearInterval(timer)
  page.close()
  const audit = await store.close()
  print(audit, 'The store is closed.')
  return audit.ok ? 0 : 1
}

function print({ invariants }: LiveAudit, what: string): void {
  console.log(what)
  for (const { name, ok, found } of invariants) console.log(`  ${ok ? '✓' : '✗'} ${name.padEnd(14)}${found}`)
}
