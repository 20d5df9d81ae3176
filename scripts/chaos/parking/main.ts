/** The ledger of parking, on real Kafka and PostgreSQL: `npm run chaos:parking -- --help`. */
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { databaseFor } from './database.ts'
import { runLedger, type Outcome } from './run.ts'
import { settingsFrom, type Settings } from './settings.ts'

const { settings, compare } = settingsFrom(process.argv.slice(2))
const say = (line: string): void => console.log(line)
const database = await databaseFor(settings, addressOf)
const address = { kind: settings.broker, url: await addressOf(settings.broker) }
const services = { database, address, say }

try {
  process.exitCode = (await (compare ? comparison() : ledger(settings))) ? 0 : 1
} finally {
  await database.dispose()
}

async function ledger(settings: Settings): Promise<boolean> {
  say(`seed ${settings.seed}${settings.broken === undefined ? '' : `, broken: ${settings.broken}`}`)
  const outcome = await runLedger(settings, services)
  // Only a comparison has keys that never fail.
  const { lost, doubled, outOfOrder, both, notMended, counts, healthy: _healthy, ...rest } = outcome
  say(JSON.stringify(counts, null, 1))
  say(JSON.stringify(rest))
  say(
    `${outcome.messages} messages: ${lost} lost, ${doubled} doubled, ${outOfOrder} out of their key's order, ${both} both handled and dead, ${notMended} not handled after they were mended`,
  )
  return lost + doubled + outOfOrder + both + notMended === 0 && outcome.leftParked === 0
}

/** Half of the keys never fail: their throughput with failures beside them, as a share of that without. */
async function comparison(): Promise<boolean> {
  const base = { ...settings, faults: false, bad: 0.5, spreadMs: 0 }
  const rate = ({ healthy }: Outcome): number => healthy.effects / healthy.tookMs
  const shares: number[] = []
  for (let round = 0; round < 3; round++) {
    const calm = await runLedger({ ...base, flaky: 0, dead: 0 }, services)
    const failing = await runLedger(base, services)
    shares.push(rate(failing) / rate(calm))
    say(
      `round ${round + 1}: ${shares.at(-1)?.toFixed(3)} (${(rate(failing) * 1000).toFixed(0)} and ${(rate(calm) * 1000).toFixed(0)} a second); ${failing.byWorker} of ${failing.messages} by the worker, ${failing.peakParked} parked at most`,
    )
    if (failing.lost + failing.doubled + failing.outOfOrder > 0) return false
  }
  const median = shares.toSorted((a, b) => a - b)[1] ?? 0
  say(`throughput of the other keys: ${median.toFixed(3)} of a run without failures`)
  return median >= 0.9
}

async function addressOf(service: string): Promise<string> {
  return (await up(serviceNamed(service), (line) => console.error(line))).url
}
