import { parseArgs } from 'node:util'

/** What a run of the ledger does. Every figure can be given: `--keys 200`. */
export interface Settings {
  readonly messages: number
  readonly keys: number
  /** Shares of messages that fail for `failMs`, and for good. */
  readonly flaky: number
  readonly dead: number
  readonly failMs: number
  /** The messages are produced over so long. 0: all at once, before anything starts. */
  readonly spreadMs: number
  /** Share of the keys that may hold failing messages. */
  readonly bad: number
  readonly consumers: number
  readonly workers: number
  readonly concurrency: number
  readonly handlerMs: number
  readonly leaseMs: number
  readonly cap: number
  readonly whenDead: 'continue' | 'block-key'
  readonly park: boolean
  readonly faults: boolean
  readonly seed: number
  readonly broken: string | undefined
  readonly broker: 'kafka' | 'rabbitmq'
  /** How often a PostgreSQL of the run's own is killed and started again. */
  readonly restarts: number
  /** The run's own PostgreSQL dies, and its synchronous standby is promoted. */
  readonly failover: boolean
  /** The address of a PostgreSQL, or the name of a service. */
  readonly database: string
  /** Most time for a run. */
  readonly maxMs: number
}

/** One process of a run. */
export interface MemberSettings extends Settings {
  readonly role: 'consumer' | 'worker'
  /** The topic, the group and the schema. */
  readonly name: string
  readonly postgres: string
  readonly address: Address
}

export interface Address {
  readonly kind: Settings['broker']
  readonly url: string
}

export const breaks: Readonly<Record<string, string>> = {
  'append-apart': 'P-5: the look at the lane and the append are two steps',
  'stale-set': 'P-4: each process believes its own set of parked lanes, kept over a rebalance',
}

const usage = `Usage: npm run chaos:parking -- [--messages 20000] [--keys 200] [--compare] [--broken ${Object.keys(breaks).join(' | ')}]

Real Kafka and PostgreSQL: consumers and parking workers that are killed, paused and replaced, while a share of the messages
fails for a time and another for good. Counts what was lost, doubled or out of its key's order; exits with 1 if anything was.

  --when-dead block-key   what dies blocks its key; an operator sends half of that again and drops the rest
  --rabbitmq              RabbitMQ in place of Kafka: quorum queues with one active consumer each
  --postgres18            PostgreSQL 18; --postgres postgres://… takes the server of that address
  --restarts 3            a PostgreSQL of the run's own is killed and started again so often
  --failover              a PostgreSQL of the run's own is killed, and its synchronous standby is promoted
  --compare   two runs without faults, one with failures and one without: the throughput of the keys that never fail`

export function settingsFrom(argv: readonly string[]): { readonly settings: Settings; readonly compare: boolean } {
  const text = { type: 'string' } as const
  const numbers = {
    ...{ messages: 20_000, keys: 200, flaky: 0.05, dead: 0.01, failMs: 30_000, spreadMs: 60_000, bad: 1, consumers: 3 },
    ...{ workers: 2, concurrency: 12, handlerMs: 1, leaseMs: 3_000, cap: 1_000, maxMs: 300_000, restarts: 0 },
    seed: Math.floor(Math.random() * 1e6) + 1,
  }
  const { values } = parseArgs({
    args: [...argv],
    options: {
      ...(Object.fromEntries(Object.keys(numbers).map((name) => [name, text])) as Record<
        keyof typeof numbers,
        typeof text
      >),
      'when-dead': text,
      broken: text,
      postgres: text,
      postgres18: { type: 'boolean', default: false },
      rabbitmq: { type: 'boolean', default: false },
      failover: { type: 'boolean', default: false },
      compare: { type: 'boolean', default: false },
      'no-faults': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const given = Object.fromEntries(
    Object.entries(numbers).map(([name, value]) => [name, Number(values[name as keyof typeof numbers] ?? value)]),
  ) as typeof numbers
  const wrong = Object.entries(given).find(([, value]) => !(value >= 0))
  const { broken } = values
  if (values.help || wrong !== undefined || (broken !== undefined && !Object.hasOwn(breaks, broken))) {
    console.error(usage)
    process.exit(values.help ? 0 : 2)
  }
  const whenDead = values['when-dead'] === 'block-key' ? 'block-key' : 'continue'
  const { failover, postgres = values.postgres18 ? 'postgres18' : 'postgres' } = values
  const broker = values.rabbitmq ? 'rabbitmq' : 'kafka'
  const world = { broker, failover, database: postgres } as const
  return {
    settings: { ...given, ...world, whenDead, broken, park: true, faults: !values['no-faults'] },
    compare: values.compare,
  }
}
