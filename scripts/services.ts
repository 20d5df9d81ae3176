import { styleText } from 'node:util'
import { down, status, up } from './services/manager.ts'
import type { Running } from './services/records.ts'
import { Unavailable, type Service } from './services/service.ts'
import { defaultNames, serviceNamed, services } from './services/table.ts'

const USAGE = `Usage: npm run services -- up | down | status | env [name…]

  up      starts what is missing and prints the addresses   (default: ${defaultNames.join(' ')})
  down    stops what \`up\` started here                       (default: all)
  status  prints what there is                              (default: all)
  env     prints the addresses as lines for a shell

  Names: ${services.map(({ name }) => name).join(' ')}`

const all = services.map(({ name }) => name)

const verbs: Readonly<Record<string, (names: readonly string[]) => Promise<void>>> = {
  up: (names) => bringUp(names.length === 0 ? defaultNames : names, names.length > 0),
  down: (names) => takeDown(names.length === 0 ? all : names),
  status: (names) => printStatus(names.length === 0 ? all : names),
  env: (names) => printEnvironment(names.length === 0 ? all : names),
}

/** Exits non-zero for a service that cannot be had if it was asked for by name or under `CI=true`. */
async function bringUp(names: readonly string[], askedFor: boolean): Promise<void> {
  const results = await Promise.allSettled(
    names.map((name) => up(serviceNamed(name), (line) => say(`${name}: ${line}`))),
  )
  results.forEach((result, index) => {
    const { name, urlVariable } = serviceNamed(names[index] ?? '')
    if (result.status === 'fulfilled') {
      console.log(row(name, result.value) + (result.value.already ? '  (already there)' : ''))
    } else if (result.reason instanceof Unavailable) {
      const { message, cause } = result.reason
      console.error(
        `${name}: not available: ${message}${message.includes(urlVariable) ? '' : `, or set ${urlVariable}`}`,
      )
      if (cause instanceof Error) say(cause.message)
      if (askedFor || process.env['CI'] === 'true') process.exitCode = 1
    } else {
      console.error(`${name}: failed: ${result.reason instanceof Error ? result.reason.message : result.reason}`)
      process.exitCode = 1
    }
  })
}

async function takeDown(names: readonly string[]): Promise<void> {
  const stopped = await Promise.all(names.map(async (name) => ((await down(serviceNamed(name))) ? name : undefined)))
  for (const name of stopped) if (name !== undefined) console.log(`${name}  stopped`)
}

async function printStatus(names: readonly string[]): Promise<void> {
  for (const { service, found } of await look(names)) {
    console.log(found instanceof Unavailable ? `${service.name}  ${found.message}` : row(service.name, found))
  }
}

async function printEnvironment(names: readonly string[]): Promise<void> {
  for (const { service, found } of await look(names)) {
    if (found === undefined || found instanceof Unavailable) continue
    console.log(`export ${service.urlVariable}='${found.url}'`)
  }
}

function look(names: readonly string[]) {
  const found = (service: Service) => status(service).catch((error: unknown) => asUnavailable(error))
  return Promise.all(names.map(serviceNamed).map(async (service) => ({ service, found: await found(service) })))
}

function asUnavailable(error: unknown): Unavailable {
  if (error instanceof Unavailable) return error
  throw error
}

function row(name: string, found: Running | undefined): string {
  const width = Math.max(...all.map((one) => one.length))
  if (found === undefined) return `${name.padEnd(width)}  -`
  const also = Object.entries(found.also).map(([what, address]) => `  ${what} ${address}`)
  return (
    [name.padEnd(width), found.how.padEnd(11), found.version.padEnd(8), withoutPassword(found.url)].join('  ') +
    also.join('')
  )
}

function withoutPassword(url: string): string {
  return url.replace(/(\/\/[^:/@]*):[^@/]*@/, '$1:…@')
}

function say(line: string): void {
  console.error(styleText('dim', line))
}

const [verb = '', ...names] = process.argv.slice(2)
const command = verbs[verb]
if (command === undefined) {
  console.error(USAGE)
  process.exitCode = 2
} else {
  await command(names)
}
