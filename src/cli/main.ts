import { userInfo } from 'node:os'
import { parseArgs } from 'node:util'
import { isHoldfastError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import { operations } from '../operations/index.ts'
import { postgresOperatorStore, type PostgresDeadLetters } from '../stores/postgres/index.ts'
import type { Command, Config, Context, Flags, Surroundings } from './command.ts'
import { circuitCommands } from './commands/circuits.ts'
import { contractCommands } from './commands/contracts.ts'
import { dlqCommands } from './commands/dlq.ts'
import { doctorCommands } from './commands/doctor.ts'
import { keyCommands } from './commands/keys.ts'
import { migrateCommands } from './commands/migrate.ts'
import { outboxCommands } from './commands/outbox.ts'
import { promoteCommands } from './commands/promote.ts'
import { redriveCommands } from './commands/redrives.ts'
import { rewindCommands } from './commands/rewind.ts'
import { statusCommands } from './commands/status.ts'
import { uiCommands } from './commands/ui.ts'
import { completion } from './completion.ts'
import { addressOf, connect, readConfig, unreachable } from './connect.ts'
import { exits, Stop, usage } from './exit.ts'
import { numberFlag } from './filters.ts'
import { requireOwnSchema } from './schema.ts'
import { printable } from './terminal.ts'

/** The table of commands. The help, the completion and the docs are made from it. */
export const commands: readonly Command[] = [
  ...statusCommands,
  ...doctorCommands,
  ...dlqCommands,
  ...redriveCommands,
  ...outboxCommands,
  ...keyCommands,
  ...circuitCommands,
  ...migrateCommands,
  ...contractCommands,
  ...rewindCommands,
  ...promoteCommands,
  ...uiCommands,
]

const common: Flags = {
  postgres: { type: 'string', help: 'the database; else HOLDFAST_POSTGRES_URL, else `postgres` of the config file' },
  schema: { type: 'string', help: 'the schema; else HOLDFAST_SCHEMA, else holdfast' },
  config: { type: 'string', short: 'c', help: 'a config file; else holdfast.config.{ts,mts,mjs,js}' },
  by: { type: 'string', help: 'who acts, for the operator log; else the user of this shell' },
  json: { type: 'boolean', help: 'one object a line' },
  'timeout-ms': { type: 'string', help: 'how long one question may take, 15000 unless told' },
  help: { type: 'boolean', short: 'h', help: 'this' },
}

/** Runs one command and resolves to its exit code. Every error is one line on stderr. */
export async function main(argv: readonly string[], around: Surroundings): Promise<number> {
  try {
    return await dispatch(argv, around)
  } catch (error) {
    const stop = stopFrom(error)
    around.err(`holdfast: ${stop.message}\n`)
    return stop.exit
  }
}

async function dispatch(argv: readonly string[], around: Surroundings): Promise<number> {
  const words = argv.filter((word) => !word.startsWith('-'))
  if (words[0] === 'completion') {
    around.out(completion(words[1], commands, common))
    return exits.ok
  }
  const command = commandFrom(words)
  const wantsHelp = argv.includes('--help') || argv.includes('-h')
  if (command === undefined) {
    if (words.length > 0 && !(wantsHelp && familyOf(words[0]).length > 0)) throw unknown(words)
    around.out(overview(familyOf(words[0])))
    return words.length > 0 || wantsHelp ? exits.ok : exits.usage
  }
  if (wantsHelp) {
    around.out(helpOf(command))
    return exits.ok
  }
  const { values: given, positionals } = parsed(command, argv)
  // The parser's type mixes both kinds of lists: ours are of texts.
  const values = given as Context['values']
  const args = positionals.slice(command.name.split(' ').length)
  if (command.takes === undefined && args.length > 0)
    throw usage(`${command.name} takes no arguments, got '${printable(args[0] ?? '')}'`)
  const config = await readConfig(typeof values['config'] === 'string' ? values['config'] : undefined, around)
  return withContext(command, values, args, config, around)
}

async function withContext(
  command: Command,
  values: Context['values'],
  args: readonly string[],
  config: Config,
  around: Surroundings,
): Promise<number> {
  const text = (flag: string, variable: string): string | undefined => {
    const given = values[flag]
    return typeof given === 'string' ? given : around.env[variable]
  }
  const schema = text('schema', 'HOLDFAST_SCHEMA') ?? config.schema ?? 'holdfast'
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) throw usage(`--schema: '${printable(schema)}' is no name of a schema`)
  const by = text('by', 'HOLDFAST_OPERATOR') ?? nameOfUser()
  if (by === '') throw usage('--by must not be empty')
  const base = { values, args, json: values['json'] === true, by, schema, around, config }
  const url = text('postgres', 'HOLDFAST_POSTGRES_URL') ?? config.postgres
  const hasUrl = url !== undefined && url !== ''
  if (command.offline === true || (command.offline === 'if-none' && !hasUrl))
    return command.run({ ...base, isConnected: false, ...nothing })
  if (!hasUrl) throw usage('no database: give --postgres, HOLDFAST_POSTGRES_URL, or `postgres` in holdfast.config.mjs')
  const timeoutMs = numberFlag({ ...base, isConnected: false, ...nothing }, 'timeout-ms', 1, 86_400_000) ?? 15_000
  const connection = await connect(url, timeoutMs)
  const { pool } = connection
  try {
    const letters = config.letters?.(pool) as PostgresDeadLetters | undefined
    const store = postgresOperatorStore(pool, {
      schema,
      questionMs: timeoutMs,
      ...(letters !== undefined && { letters }),
    })
    if (command.acts === true) await requireOwnSchema(store, schema)
    return await command.run({ ...base, isConnected: true, pool, ops: operations({ store, cacheMs: 0 }) })
  } catch (error) {
    throw explainedStop(error, schema, url, timeoutMs)
  } finally {
    await connection.close().catch(() => undefined)
  }
}

// Commands that need no database get what refuses to be used.
const nothing = new Proxy({} as Pick<Context, 'ops' | 'pool'>, {
  ownKeys: () => [],
})

function nameOfUser(): string {
  try {
    return userInfo().username
  } catch {
    return 'unknown'
  }
}

function commandFrom([first = '', second = '']: readonly string[]): Command | undefined {
  return commands.find(({ name }) => name === `${first} ${second}`) ?? commands.find(({ name }) => name === first)
}

function familyOf(first: string | undefined): readonly Command[] {
  return commands.filter(({ name }) => first === undefined || name.startsWith(`${first} `))
}

function unknown(words: readonly string[]): Stop {
  const said = words.slice(0, 2).join(' ')
  const near =
    nearest(
      said,
      commands.map(({ name }) => name),
    ) ??
    nearest(
      words[0] ?? '',
      commands.map(({ name }) => name),
    )
  const family = familyOf(words[0]).map(({ name }) => name)
  const hint =
    near !== undefined
      ? `; did you mean '${near}'?`
      : family.length > 0
        ? `; there is ${family.join(', ')}`
        : '; try holdfast --help'
  return usage(`there is no command '${printable(said)}'${hint}`)
}

function parsed(command: Command, argv: readonly string[]) {
  const flags: Flags = { ...command.flags, ...common }
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short !== undefined && { short }), ...(multiple === true && { multiple }) },
    ]),
  )
  try {
    return parseArgs({ args: [...argv], allowPositionals: true, options })
  } catch (error) {
    const message = error instanceof Error ? error.message : ''
    const flag = /'(-{1,2}[^\s'=]+)/.exec(message)?.[1]
    if (
      error instanceof Error &&
      Reflect.get(error, 'code') === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' &&
      flag !== undefined
    ) {
      const near = nearest(flag.replace(/^-+/, ''), Object.keys(flags))
      throw usage(`${command.name} has no ${printable(flag)}${near === undefined ? '' : `; did you mean --${near}?`}`)
    }
    throw usage(printable(message.split('. ')[0] ?? message))
  }
}

function overview(shown: readonly Command[]): string {
  const longest = Math.max(...shown.map(({ name }) => name.length))
  return `usage: holdfast <command> [flags]\n\n${shown.map(({ name, summary }) => `  ${name.padEnd(longest)}  ${summary}`).join('\n')}\n\nholdfast <command> --help shows its flags. holdfast completion bash | zsh prints a completion script.\n`
}

function helpOf({ name, takes, summary, flags, example }: Command): string {
  const all = Object.entries({ ...flags, ...common })
  const shown = all.map(
    ([flag, { type, short }]) =>
      `${short === undefined ? '    ' : `-${short}, `}--${flag}${type === 'string' ? ' <text>' : ''}`,
  )
  const longest = Math.max(...shown.map((text) => text.length))
  const lines = all.map(([, { help }], at) => `  ${(shown[at] ?? '').padEnd(longest)}  ${help}`)
  return `usage: holdfast ${name}${takes === undefined ? '' : ` ${takes}`} [flags]\n\n${summary}\n\n${lines.join('\n')}\n\nexample: ${example}\n`
}

function stopFrom(error: unknown): Stop {
  if (error instanceof Stop) return error
  if (isHoldfastError(error) && error.code === 'bad-option') return usage(printable(error.message))
  return new Stop(exits.bug, `unexpected: ${printable(error instanceof Error ? error.message : String(error))}`)
}

const gone = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', '57P01', '57P02', '57P03'])

function explainedStop(error: unknown, schema: string, url: string, timeoutMs: number): unknown {
  if (error instanceof Stop) return error
  if (isHoldfastError(error) && error.code === 'bad-schema')
    return new Stop(
      exits.schema,
      `the tables in schema ${schema} are missing, older than this version, or not for this role: holdfast doctor says more, holdfast migrate apply mends it`,
    )
  if (isHoldfastError(error) && error.code === 'unavailable')
    return new Stop(exits.unavailable, printable(error.message))
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  if (code === '42501')
    return new Stop(exits.schema, `this role lacks rights: ${printable(error instanceof Error ? error.message : '')}`)
  if (code === '57014')
    return new Stop(
      exits.unavailable,
      `${addressOf(url)} took longer than ${timeoutMs} ms: narrow the question, or raise --timeout-ms`,
    )
  if (typeof code === 'string' && gone.has(code)) return unreachable(url, error)
  return error
}
