import { parseArgs } from 'node:util'

const usage = `npm run example:postgres-outbox -- [--orders n] [--postgres [url]] [--kafka [brokers]] [--without name]

  Without flags everything is embedded: PostgreSQL from npm, and a broker in memory.
  --postgres, --kafka   real ones: at the address given, else what \`npm run services -- up\` started
  --without outbox      publishes inside the transaction, as it is done by hand: then see the audit
  --without claims      handles repeats too: then see the audit`

export interface Settings {
  readonly orders: number
  /** `null`: the one that comes with npm. */
  readonly postgres: string | true | null
  /** `null`: a broker in memory. */
  readonly kafka: string | true | null
  readonly without: 'outbox' | 'claims' | null
}

export function settingsFrom(args: string[]): Settings {
  // A flag without a value is a flag all the same.
  const spelled = args.flatMap((arg, at) =>
    /^--(postgres|kafka)$/.test(arg) && (args[at + 1] ?? '--').startsWith('--') ? [`${arg}=`] : [arg],
  )
  const { values } = parsed(spelled)
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const orders = Number(values.orders)
  if (!Number.isSafeInteger(orders) || orders < 1)
    giveUp(`--orders must be a whole number above 0, got '${values.orders}'`)
  const { without = null } = values
  if (without !== null && without !== 'outbox' && without !== 'claims')
    giveUp(`--without takes outbox or claims, got '${without}'`)
  return { orders, postgres: addressFrom(values.postgres), kafka: addressFrom(values.kafka), without }
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        orders: { type: 'string', default: '2000' },
        postgres: { type: 'string' },
        kafka: { type: 'string' },
        without: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    return giveUp(error)
  }
}

/** Ends with one line that says why. */
export function giveUp(why: unknown): never {
  console.error(why instanceof Error ? why.message : why)
  process.exit(1)
}

function addressFrom(value: string | undefined): string | true | null {
  if (value === undefined) return null
  return value === '' ? true : value
}
