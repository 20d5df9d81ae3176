import { createRequire } from 'node:module'
import { join } from 'node:path'
import {
  certificateCheck,
  clientChecks,
  destinationCheck,
  examine,
  pipelineChecks,
  poolCheck,
  redisCheck,
  type Check,
  type DescribedPipeline,
} from '../../operations/index.ts'
import { postgresChecks } from '../../stores/postgres/index.ts'
import { certificateEnd } from '../certificate.ts'
import type { Command, Context } from '../command.ts'
import { exits } from '../exit.ts'
import { say } from '../print.ts'
import { printable, printableLines } from '../terminal.ts'

const doctor: Command = {
  name: 'doctor',
  summary: 'looks at the installation, and says what is wrong with the SQL or the setting that mends it',
  flags: { 'fix-sql': { type: 'boolean', help: 'prints only the SQL that mends what SQL can mend' } },
  example: 'holdfast doctor',
  async run(context) {
    const { findings, passed } = await examine(checksOf(context))
    const { around, json, values } = context
    if (values['fix-sql'] === true) {
      for (const { fix } of findings) if (fix?.endsWith(';') === true) around.out(`${fix}\n`)
      return findings.length > 0 ? exits.findings : exits.ok
    }
    if (json) for (const finding of findings) say(context, '', finding)
    else {
      for (const { check, level, what, fix } of findings) {
        around.out(`${level.padEnd(8)} ${printable(check)}: ${printable(what)}\n`)
        if (fix !== null) around.out(`${printableLines(fix).replaceAll(/^/gm, '         ')}\n`)
      }
      around.out(`${findings.length} findings, ${passed.length} checks passed\n`)
    }
    return findings.length > 0 ? exits.findings : exits.ok
  },
}

function checksOf({ pool, schema, config, around }: Context): readonly Check[] {
  const { pipelines = [], redis, tls = [], pools = {}, deadLetters } = config
  return [
    ...postgresChecks(pool, { schema }),
    ...clientChecks((name) => installed(name, around.cwd)),
    ...pipelineChecks(pipelines.filter(isDescribed), config),
    ...Object.entries(pools).flatMap(([name, each]) => (isHeard(each) ? [poolCheck(name, each)] : [])),
    ...(deadLetters === undefined ? [] : [destinationCheck(deadLetters.destinations, deadLetters.exists)]),
    ...(hasInfo(redis) ? [redisCheck(redis)] : []),
    ...tls.map((server) => certificateCheck(server, certificateEnd, Date.now)),
  ]
}

function isDescribed(pipeline: unknown): pipeline is DescribedPipeline {
  return typeof pipeline === 'object' && pipeline !== null && 'describe' in pipeline && 'stages' in pipeline
}

function isHeard(pool: unknown): pool is { listenerCount(event: string): number } {
  return typeof pool === 'object' && pool !== null && 'listenerCount' in pool
}

function hasInfo(redis: unknown): redis is { info(section: string): Promise<string> } {
  return typeof redis === 'object' && redis !== null && 'info' in redis && typeof redis.info === 'function'
}

/** The version of a package as the service in this folder sees it. */
function installed(name: string, cwd: string): string | undefined {
  try {
    const found: unknown = createRequire(join(cwd, 'x.js'))(`${name}/package.json`)
    const version: unknown = typeof found === 'object' && found !== null ? Reflect.get(found, 'version') : undefined
    return typeof version === 'string' ? version : undefined
  } catch {
    return undefined
  }
}

export const doctorCommands: readonly Command[] = [doctor]
