import { parseArgs } from 'node:util'

const usage = `npm run example:postgres-outbox -- [--orders n] [--postgres [url]] [--kafka [brokers]]

  Without flags everything is embedded: PostgreSQL from npm, and a broker in memory.
  --postgres, --kafka   real ones: at the address given, else what \`npm run services -- up\` started`

export interface Settings {
  readonly orders: number
  /** `null`: the one that comes with npm. */
  readonly postgres: string | true | null
  /** `null`: a broker in memory. */
  readonly kafka: string | true | null
}

export function settingsFrom(args: string[]): Settings {
  // A flag without a value is a flag all the same.
  const spelled = args.flatMap((arg, at) =>
    /^--(postgres|kafka)$/.test(arg) && (args[at + 1] ?? '--').startsWith('--') ? [`${arg}=`] : [arg],
  )
  const { values } = parseArgs({
    args: spelled,
    options: {
      orders: { type: 'string', default: '2000' },
      postgres: { type: 'string' },
      kafka: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const orders = Number(values.orders)
  if (!Number.isSafeInteger(orders) || orders < 1)
    throw new Error(`--orders must be a whole number above 0\n\n${usage}`)
  return { orders, postgres: addressFrom(values.postgres), kafka: addressFrom(values.kafka) }
}

function addressFrom(value: string | undefined): string | true | null {
  if (value === undefined) return null
  return value === '' ? true : value
}
