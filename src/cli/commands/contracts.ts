import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import {
  asyncApi,
  checkContracts,
  contractGraph,
  lintContracts,
  lockContracts,
  type ContractLock,
  type Service,
} from '../../contracts/index.ts'
import { catalogue } from '../../contracts/catalogue/page.ts'
import { contractsOf } from '../../contracts/service.ts'
import type { Command, Context, Flags } from '../command.ts'
import { exits, usage } from '../exit.ts'
import { load } from '../load.ts'
import { say } from '../print.ts'
import { printable } from '../terminal.ts'

const flags: Flags = {
  from: { type: 'string', help: 'the file that exports your services; else contracts.ts' },
  out: { type: 'string', help: 'the folder of the documents; else docs/events' },
}

const lockName = 'contracts.lock.json'

const write: Command = {
  name: 'contracts write',
  summary: 'writes an AsyncAPI document for each service, the catalogue, the graph and the lock file',
  flags: {
    ...flags,
    'document-version': { type: 'string', help: 'the version of the documents; else 1.0.0' },
    title: { type: 'string', help: 'the title of the catalogue; else Events' },
  },
  example: 'holdfast contracts write --from src/contracts.ts --out docs/events',
  offline: true,
  async run(context) {
    const services = await servicesFrom(context)
    const folder = folderOf(context)
    const lock = lockContracts(contractsOf(services), readLock(folder))
    const version = textFlag(context, 'document-version') ?? '1.0.0'
    const files = new Map([
      ...services.map((each) => [`asyncapi.${fileName(each.name)}.json`, json(asyncApi(each, { version }))] as const),
      ['graph.md', `\`\`\`mermaid\n${contractGraph(services)}\`\`\`\n`],
      ['index.html', catalogue(services, { title: textFlag(context, 'title') ?? 'Events' })],
      [lockName, json(lock)],
    ])
    if (files.size !== services.length + 3) throw usage('two services have the same name as far as a file can have it')
    mkdirSync(folder, { recursive: true })
    for (const [name, text] of files) writeFileSync(join(folder, name), text)
    for (const name of files.keys())
      say(context, `wrote ${printable(join(folder, name))}`, { wrote: join(folder, name) })
    return exits.ok
  },
}

const check: Command = {
  name: 'contracts check',
  summary: 'compares the contracts with the lock file and looks for what goes wrong between services; for CI',
  flags,
  example: 'holdfast contracts check --from src/contracts.ts',
  offline: true,
  async run(context) {
    const services = await servicesFrom(context)
    const breaches = await checkContracts(contractsOf(services), readLock(folderOf(context)))
    const findings = lintContracts(services)
    for (const breach of breaches) {
      const doubt = breach.sure ? '' : ' (cannot be told for sure)'
      say(context, printable(`error    ${breach.at}  ${breach.rule}: ${breach.says}${doubt}`), {
        ...breach,
        level: 'error',
      })
    }
    for (const finding of findings)
      say(context, printable(`${finding.level.padEnd(8)} ${finding.at}  ${finding.rule}: ${finding.says}`), {
        ...finding,
      })
    if (breaches.length + findings.length > 0) return exits.findings
    say(context, `${contractsOf(services).length} contracts of ${services.length} services: nothing to say`, {
      findings: 0,
    })
    return exits.ok
  },
}

const graph: Command = {
  name: 'contracts graph',
  summary: 'prints who tells whom as a Mermaid chart',
  flags: { from: flags['from'] ?? { type: 'string', help: '' } },
  example: 'holdfast contracts graph --from src/contracts.ts',
  offline: true,
  async run(context) {
    const mermaid = contractGraph(await servicesFrom(context))
    context.around.out(context.json ? `${JSON.stringify({ mermaid })}\n` : mermaid)
    return exits.ok
  },
}

/** All services that the file exports, by themselves or in lists. */
async function servicesFrom(context: Context): Promise<readonly Service[]> {
  const name = textFlag(context, 'from') ?? 'contracts.ts'
  const found = Object.values(await load(name, context.around))
    .flat()
    .filter(isService)
  const services = [...new Map(found.map((each) => [each.name, each])).values()]
  if (services.length === 0) throw usage(`${printable(name)} exports no service(): see docs/contracts.md`)
  return services
}

function isService(value: unknown): value is Service {
  if (typeof value !== 'object' || value === null) return false
  const { name, publishes, consumes } = value as Readonly<Record<string, unknown>>
  return typeof name === 'string' && Array.isArray(publishes) && Array.isArray(consumes)
}

function readLock(folder: string): ContractLock {
  const file = join(folder, lockName)
  if (!existsSync(file)) return {}
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ContractLock
  } catch {
    throw usage(`${printable(file)} is no JSON: take it from the last commit`)
  }
}

function folderOf(context: Context): string {
  return resolve(context.around.cwd, textFlag(context, 'out') ?? 'docs/events')
}

function textFlag({ values }: Context, flag: string): string | undefined {
  const given = values[flag]
  return typeof given === 'string' && given !== '' ? given : undefined
}

/** A service's name is a part of a file's name. */
function fileName(name: string): string {
  return name.replace(/[^A-Za-z0-9_-]+/g, '_')
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

export const contractCommands: readonly Command[] = [write, check, graph]
