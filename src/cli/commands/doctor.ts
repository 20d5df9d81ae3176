import { createRequire } from 'node:module'
import { connect } from 'node:tls'
import { join } from 'node:path'
import {
  certificateCheck,
  clientChecks,
  examine,
  pipelineChecks,
  redisCheck,
  type Check,
  type DescribedPipeline,
} from '../../operations/index.ts'
import { postgresChecks } from '../../stores/postgres/index.ts'
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
  const { pipelines = [], redis, tls = [] } = config
  return [
    ...postgresChecks(pool, { schema }),
    ...clientChecks((name) => installed(name, around.cwd)),
    ...pipelineChecks(pipelines.filter(isDescribed)),
    ...(hasInfo(redis) ? [redisCheck(redis)] : []),
    ...tls.map((server) => certificateCheck(server, certificateEnd, Date.now)),
  ]
}

function isDescribed(pipeline: unknown): pipeline is DescribedPipeline {
  return typeof pipeline === 'object' && pipeline !== null && 'describe' in pipeline && 'stages' in pipeline
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

const certificateMs = 5000

function certificateEnd(server: string): Promise<number> {
  const at = server.lastIndexOf(':')
  const [host, port] = at < 0 ? [server, 443] : [server.slice(0, at), Number(server.slice(at + 1))]
  return new Promise((resolve, reject) => {
    // A certificate that has ended, or is of nobody we trust, is to be looked at too.
    const socket = connect({ host, port, servername: host, rejectUnauthorized: false, timeout: certificateMs }, () => {
      const { valid_to: end } = socket.getPeerCertificate()
      socket.destroy()
      resolve(Date.parse(end))
    })
    socket.once('timeout', () => socket.destroy(new Error(`no answer within ${certificateMs} ms`)))
    socket.once('error', reject)
  })
}

export const doctorCommands: readonly Command[] = [doctor]
