import { parseArgs } from 'node:util'
import { brokers } from './brokers.ts'
import { breaks, Soak } from './soak.ts'

const usage = `Usage: npm run soak -- ${Object.keys(brokers).join('|')} [--minutes n] [--rate n] [--keys n] [--hold-s n] [--break name]

Members of one group join and leave, and some messages are held for long: they wait, or their handler does. Exits with 1
where a message was lost or out of its key's order, where one stands still, where a member is not ready for a minute, or
where the memory of the process grows.

  --minutes   (default 20)
  --rate      messages a second (default 100), over so many --keys (default 500)
  --hold-s    the longest hold in seconds (default 60)
  --break     plants a fault that the run must find:
${Object.entries(breaks)
  .map(([name, what]) => `                ${name.padEnd(10)} ${what}`)
  .join('\n')}`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '20' },
    rate: { type: 'string', default: '100' },
    keys: { type: 'string', default: '500' },
    'hold-s': { type: 'string', default: '60' },
    break: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const [minutes, rate, keys, holdSeconds] = [values.minutes, values.rate, values.keys, values['hold-s']].map(Number)
const open = brokers[positionals[0] ?? '']
const isKnown = values.break === undefined || Object.hasOwn(breaks, values.break)
const areNumbers = [minutes, rate, keys, holdSeconds].every((value) => value !== undefined && value > 0)
if (values.help) console.log(usage)
else if (open === undefined || positionals.length > 1 || !isKnown || !areNumbers) {
  console.error(usage)
  process.exitCode = 2
} else process.exit(await run())

async function run(): Promise<number> {
  const name = `soak-${Date.now().toString(36)}`
  const broker = await open?.(name)
  if (broker === undefined) return 2
  const planted = values.break === undefined ? '' : `, planted: ${breaks[values.break]}`
  console.log(`${broker.title}: ${minutes} minutes, ${rate} messages a second over ${keys} keys${planted}`)
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  const soak = new Soak({
    ...{ broker, name, minutes: minutes ?? 20, rate: rate ?? 100, keys: keys ?? 500 },
    ...{ holdMs: 1000 * (holdSeconds ?? 60), planted: values.break },
  })
  await soak.run(interrupted.signal)
  const figures = { ...soak.ledger.figures(), ...soak.counts }
  for (const [what, count] of Object.entries(figures)) console.log(`  ${what.padEnd(14)} ${count}`)
  console.log(`  memory         ${soak.memory.verdict().text}`)
  const { violations } = soak
  console.log(violations.length === 0 ? 'kept: nothing lost, nothing stuck, memory steady' : 'BROKEN:')
  for (const violation of new Set(violations)) console.log(`  ${violation}`)
  return violations.length === 0 ? 0 : 1
}
