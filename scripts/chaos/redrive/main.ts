/**
 * The ledger of redrives, in the pipeline: `npm run chaos:redrive -- [letters] [kills] [pauses]`; and to Kafka:
 * `npm run chaos:redrive -- --kafka [letters] [kills]`.
 */
import { redriveLedger } from './ledger.ts'
import { redriveToKafka } from './to-kafka.ts'

const args = process.argv.slice(2)
const toKafka = args[0] === '--kafka'
const [total, kills, pauses] = args.slice(toKafka ? 1 : 0).map(Number)
const say = (text: string): void => void process.stdout.write(`${text}\n`)

function server(name: string): string {
  const url = process.env[name]
  if (url === undefined) throw new Error(`chaos:redrive: set ${name}; npm run services -- up prints it`)
  return url
}
const url = server('HOLDFAST_POSTGRES_URL')

if (toKafka) {
  const told = await redriveToKafka({
    url,
    brokers: server('HOLDFAST_KAFKA_BROKERS'),
    total: total ?? 4000,
    kills: kills ?? 2,
  })
  const { letters, arrived, repeated, outOfOrder, seconds, createMs } = told
  say(
    `${letters} letters to Kafka in ${seconds.toFixed(1)} s, made in ${createMs.toFixed(0)} ms, ${told.kills} SIGKILL: ${letters - arrived} lost, ${told.skipped} skipped, ${repeated} repeated under their generation, ${told.regenerated} with two generations, ${outOfOrder} out of their key's order`,
  )
  process.exitCode = letters - arrived + told.skipped + told.regenerated + outOfOrder > 0 ? 1 : 0
} else {
  const letters = total ?? 400
  const told = await redriveLedger({ url, total: letters, kills: kills ?? 20, pauses: pauses ?? 6 })
  const { lost, doubled, outOfOrder, stuck, open } = told
  say(
    `${letters} letters in ${told.redrives} redrives, ${told.kills} SIGKILL, ${told.pauses} SIGSTOP: ${lost} lost, ${doubled} doubled, ${outOfOrder} out of their key's order, ${stuck} stuck, ${open} items without a result; ${told.states}`,
  )
  process.exitCode = lost + doubled + outOfOrder + stuck + open > 0 ? 1 : 0
}
