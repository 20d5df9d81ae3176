export const usage = `The coffee store: four services, everything goes wrong, and an audit.

Usage: npm run demo -- [options]
       npm run demo -- --page [--port <n>] [--once] [--seed <n>] [--naive] [--json] [--kafka] [--postgres] [--jaeger]

  --messages <n>      orders to place, 100 to 100000         (default 2000)
  --seed <n>          the same seed, the same faults         (default 42)
  --naive             the same handlers without holdfast: the audit fails
  --json              print the audit as JSON and nothing else

  --kafka [brokers]                real Kafka instead of the broker in memory
  --platformatic-kafka [brokers]   real Kafka, by @platformatic/kafka instead of kafkajs
  --rabbitmq [url]                 real RabbitMQ instead of it
  --nats [url]                     real NATS JetStream instead of it
  --artemis [url]                  real ActiveMQ Artemis instead of it, over AMQP 1.0
  --pulsar [url]                   real Apache Pulsar instead of it
  --redis [url]                    keep the idempotency keys in Redis
  --postgres [url]                 keep the idempotency keys in PostgreSQL
                                   (without an address: what \`npm run services -- up\` started)

  --page              a page to break it on, in memory or on --kafka and --postgres
  --port <n>          where it listens on loopback, 0 for any port (default 7444)
  --once              presses each switch of the page, prints the audit, and ends
  --jaeger [url]      with --page: sends traces to Jaeger

  --help

Exits with 0 where the audit passed, 1 where it did not, 2 for a wrong option.
`

export interface Options {
  readonly messages: number
  readonly seed: number
  readonly naive: boolean
  readonly json: boolean
  readonly help: boolean
  readonly page: boolean
  readonly once: boolean
  readonly port: number
  /** An address, `true` for the default one, `false` for none. */
  readonly kafka: string | boolean
  readonly platformaticKafka: string | boolean
  readonly rabbitmq: string | boolean
  readonly nats: string | boolean
  readonly artemis: string | boolean
  readonly pulsar: string | boolean
  readonly redis: string | boolean
  readonly postgres: string | boolean
  readonly jaeger: string | boolean
}

export class UsageError extends Error {
  override readonly name = 'UsageError'
}

const defaults: Options = {
  messages: 2000,
  seed: 42,
  naive: false,
  json: false,
  help: false,
  page: false,
  once: false,
  port: 7444,
  kafka: false,
  platformaticKafka: false,
  rabbitmq: false,
  nats: false,
  artemis: false,
  pulsar: false,
  redis: false,
  postgres: false,
  jaeger: false,
}

/** @throws UsageError with the one thing that is wrong. */
export function optionsFrom(args: readonly string[]): Options {
  const left = [...args]
  let options = defaults
  for (let arg = left.shift(); arg !== undefined; arg = left.shift()) {
    const [flag = '', inline] = split(arg)
    const value = () => inline ?? (left[0] === undefined || left[0].startsWith('--') ? undefined : left.shift())
    options = { ...options, ...parse(flag, value, inline) }
  }
  if (options.redis !== false && options.postgres !== false)
    throw new UsageError('--redis and --postgres both keep the idempotency keys: take one of them')
  const [one, other] = brokersOf(options)
  if (other !== undefined) throw new UsageError(`${one} and ${other} both carry the messages: take one of them`)
  refuseForPage(options)
  return options
}

/** The page runs in memory, on Kafka by kafkajs, and on PostgreSQL. */
function refuseForPage(options: Options): void {
  const { page, once, jaeger, messages, redis, port } = options
  if (!page) {
    const [alone] = [once && '--once', jaeger !== false && '--jaeger', port !== defaults.port && '--port'].filter(
      Boolean,
    )
    if (alone !== undefined) throw new UsageError(`${alone} needs --page`)
    return
  }
  const other = brokersOf(options).find((flag) => flag !== '--kafka') ?? (redis === false ? undefined : '--redis')
  if (other !== undefined) throw new UsageError(`--page runs in memory, on --kafka and on --postgres, not on ${other}`)
  if (messages !== defaults.messages)
    throw new UsageError('--page sells for as long as it is open: leave out --messages')
}

function brokersOf({ kafka, platformaticKafka, rabbitmq, nats, artemis, pulsar }: Options): readonly string[] {
  const all = {
    '--kafka': kafka,
    '--platformatic-kafka': platformaticKafka,
    '--rabbitmq': rabbitmq,
    '--nats': nats,
    '--artemis': artemis,
    '--pulsar': pulsar,
  }
  return Object.entries(all).flatMap(([flag, value]) => (value === false ? [] : [flag]))
}

function parse(flag: string, value: () => string | undefined, inline: string | undefined): Partial<Options> {
  switch (flag) {
    case '--messages':
      return { messages: integer(flag, value(), 100, 100_000) }
    case '--seed':
      return { seed: integer(flag, value(), 0, 2 ** 32 - 1) }
    case '--naive':
      return refuseValue(flag, inline, { naive: true })
    case '--json':
      return refuseValue(flag, inline, { json: true })
    case '--page':
      return refuseValue(flag, inline, { page: true })
    case '--once':
      return refuseValue(flag, inline, { once: true })
    case '--port':
      return { port: integer(flag, value(), 0, 65_535) }
    case '--jaeger':
      return { jaeger: address(flag, value(), ['http:', 'https:']) }
    case '--help':
    case '-h':
      return refuseValue(flag, inline, { help: true })
    case '--kafka':
      return { kafka: value() ?? true }
    case '--platformatic-kafka':
      return { platformaticKafka: value() ?? true }
    case '--rabbitmq':
      return { rabbitmq: address(flag, value(), ['amqp:', 'amqps:']) }
    case '--nats':
      return { nats: address(flag, value(), ['nats:', 'tls:']) }
    case '--artemis':
      return { artemis: address(flag, value(), ['amqp:']) }
    case '--pulsar':
      return { pulsar: address(flag, value(), ['pulsar:', 'pulsar+ssl:']) }
    case '--redis':
      return { redis: address(flag, value(), ['redis:', 'rediss:']) }
    case '--postgres':
      return { postgres: address(flag, value(), ['postgres:', 'postgresql:']) }
    default:
      throw new UsageError(`there is no option ${flag}`)
  }
}

function split(arg: string): [flag: string, inline: string | undefined] {
  const at = arg.startsWith('--') ? arg.indexOf('=') : -1
  return at < 0 ? [arg, undefined] : [arg.slice(0, at), arg.slice(at + 1)]
}

function integer(flag: string, text: string | undefined, least: number, most: number): number {
  const value = text !== undefined && /^\d+$/.test(text) ? Number(text) : NaN
  if (!(value >= least && value <= most))
    throw new UsageError(`${flag} takes an integer from ${least} to ${most}, got ${text ?? 'nothing'}`)
  return value
}

function address(flag: string, text: string | undefined, protocols: readonly string[]): string | true {
  if (text === undefined) return true
  if (!URL.canParse(text) || !protocols.includes(new URL(text).protocol))
    throw new UsageError(`${flag} takes an address that begins with ${protocols[0]}//`)
  return text
}

function refuseValue(flag: string, inline: string | undefined, options: Partial<Options>): Partial<Options> {
  if (inline !== undefined) throw new UsageError(`${flag} takes no value, got ${inline}`)
  return options
}
