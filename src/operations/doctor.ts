import { textOf } from '../core/errors.ts'
import type { Check, Finding, Found } from './store.ts'

export interface Report {
  readonly findings: readonly Finding[]
  readonly passed: readonly string[]
}

/** Runs all checks, one after the other. A check that fails to look says so, and the others go on. */
export async function examine(checks: readonly Check[]): Promise<Report> {
  const findings: Finding[] = []
  const passed: string[] = []
  for (const check of checks) {
    const { name } = check
    let found: readonly Found[]
    try {
      found = await check.run()
    } catch (error) {
      const { errorMessage } = textOf(error)
      found = [{ level: 'unknown', what: `could not look: ${errorMessage}`, fix: null }]
    }
    if (found.length === 0) passed.push(name)
    for (const each of found) findings.push({ check: name, ...each })
  }
  return { findings, passed }
}

/** The part of a pipeline that the checks read. */
export interface DescribedPipeline {
  readonly name: string
  readonly stages: readonly {
    readonly name: string
    readonly facts?: { readonly retainMs?: number; readonly poolSize?: number }
  }[]
  describe(): { readonly warnings: readonly string[] }
}

/** What a pipeline cannot know of the consumer and the broker around it. */
export interface PipelineSurroundings {
  /** How many handlers the consumer runs at once. @defaultValue unknown, and not compared */
  readonly concurrency?: number
  /** How long after a message was handled the broker can still bring it again, in ms. @defaultValue unknown, and not compared */
  readonly redeliveryHorizonMs?: number
}

/** Whether pipelines keep what they cannot handle, what their own description doubts, and whether they fit what is around them. */
export function pipelineChecks(
  pipelines: readonly DescribedPipeline[],
  surroundings: PipelineSurroundings = {},
): readonly Check[] {
  return pipelines.map((pipeline) => ({
    name: `pipeline ${pipeline.name}`,
    run: () => {
      const found: Found[] = pipeline.describe().warnings.map((what) => ({ level: 'warning', what, fix: null }))
      if (!pipeline.stages.some((stage) => stage.name === 'dead-letter'))
        found.push({
          level: 'problem',
          what: 'it has no dead letter: a message that cannot be handled is nacked for ever',
          fix: '.use(deadLetter({ to: postgresDeadLetters(pool) }))',
        })
      return Promise.resolve([...found, ...misfits(pipeline, surroundings)])
    },
  }))
}

function misfits({ stages }: DescribedPipeline, around: PipelineSurroundings): readonly Found[] {
  const { concurrency = 0, redeliveryHorizonMs = 0 } = around
  return stages.flatMap(({ name, facts = {} }): readonly Found[] => {
    const { poolSize = Infinity, retainMs = Infinity } = facts
    const found: Found[] = []
    if (poolSize < concurrency)
      found.push({
        level: 'problem',
        what: `the pool of ${name} has ${poolSize} connections for ${concurrency} handlers: the rest hold leases and wait`,
        fix: `new pg.Pool({ max: ${concurrency} })`,
      })
    if (retainMs < redeliveryHorizonMs)
      found.push({
        level: 'problem',
        what: `${name} remembers keys for ${hours(retainMs)}, and the broker can bring a message again for ${hours(redeliveryHorizonMs)}: it would be handled twice`,
        fix: `idempotency({ store, retainMs: ${redeliveryHorizonMs} })`,
      })
    return found
  })
}

function hours(ms: number): string {
  return `${Math.round(ms / 360_000) / 10} h`
}

/** Whether the destinations of dead letters exist. `exists` asks the broker: a missing one holds every failed message. */
export function destinationCheck(
  destinations: readonly string[],
  exists: (destination: string) => Promise<boolean>,
): Check {
  return {
    name: 'destinations of dead letters',
    async run() {
      const found: Found[] = []
      for (const destination of destinations)
        if (!(await exists(destination)))
          found.push({
            level: 'problem',
            what: `${destination} is missing: a message that fails for good is tried again until it exists`,
            fix: `make ${destination}, with the same limits as the topic or queue that its messages come from`,
          })
      return found
    },
  }
}

/** A pool whose idle connections may break must have somebody who hears it, else the process ends. */
export function poolCheck(name: string, pool: { listenerCount(event: string): number }): Check {
  return {
    name: `pool ${name}`,
    run: () =>
      Promise.resolve(
        pool.listenerCount('error') > 0
          ? []
          : [
              {
                level: 'problem',
                what: "nobody listens to its 'error' event: an idle connection that breaks ends the process",
                fix: `pool.on('error', (error) => log.warn(error))`,
              },
            ],
      ),
  }
}

/** Whether Redis evicts keys: it would forget claims. It asks `INFO`, because managed servers refuse `CONFIG`. */
export function redisCheck(redis: { info(section: string): Promise<string> }): Check {
  return {
    name: 'redis eviction',
    async run() {
      const info = await redis.info('memory')
      const policy = /^maxmemory_policy:([\w-]+)/m.exec(info)?.[1] ?? 'noeviction'
      const limit = /^maxmemory:(\d+)/m.exec(info)?.[1] ?? '0'
      if (policy === 'noeviction' || limit === '0') return []
      return [
        {
          level: 'problem',
          what: `maxmemory-policy is ${policy}: claims are forgotten when memory is short`,
          fix: 'CONFIG SET maxmemory-policy noeviction',
        },
      ]
    },
  }
}

/** Client versions with known faults. `version` returns the installed version, or `undefined` if there is none. */
export function clientChecks(version: (name: string) => string | undefined): readonly Check[] {
  const faults: readonly (readonly [name: string, below: string, why: string])[] = [
    ['pg', '8.11.0', 'a pool may hand out a connection that is gone'],
    ['kafkajs', '2.2.4', 'it reads members of a group wrongly from a broker of 3.x'],
    ['ioredis', '5.0.0', 'scripts are not reloaded after a failover'],
    ['@opentelemetry/api', '1.9.0', 'it lacks what the tracing of this library calls'],
  ]
  const instrumentations = ['@opentelemetry/instrumentation-kafkajs', 'opentelemetry-instrumentation-kafkajs']
  return [
    {
      name: 'versions of clients',
      run: () =>
        Promise.resolve(
          faults.flatMap(([name, below, why]) => {
            const found = version(name)
            if (found === undefined || !isOlder(found, below)) return []
            return [
              { level: 'problem' as const, what: `${name} ${found}: ${why}`, fix: `npm install ${name}@^${below}` },
            ]
          }),
        ),
    },
    {
      name: 'double instrumentation',
      run: () => {
        const installed = instrumentations.filter((name) => version(name) !== undefined)
        if (installed.length < 2) return Promise.resolve([])
        const what = `${installed.join(' and ')} are both installed: each message gets two consumer spans`
        return Promise.resolve([{ level: 'warning' as const, what, fix: `npm uninstall ${installed[1] ?? ''}` }])
      },
    },
  ]
}

export function isOlder(version: string, than: string): boolean {
  const parts = (text: string): readonly number[] => text.split(/[.-]/).slice(0, 3).map(Number)
  const [own, other] = [parts(version), parts(than)]
  for (const at of [0, 1, 2]) {
    const difference = (own[at] ?? 0) - (other[at] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

/** When a server's certificate expires. `peer` connects and returns that time. */
export function certificateCheck(
  server: string,
  peer: (server: string) => Promise<number>,
  nowMs: () => number,
  warnMs: number = 21 * 86_400_000,
): Check {
  return {
    name: `certificate of ${server}`,
    async run() {
      const leftMs = (await peer(server)) - nowMs()
      if (leftMs > warnMs) return []
      const days = Math.floor(leftMs / 86_400_000)
      const what = leftMs <= 0 ? 'it has ended: clients refuse the server' : `it ends in ${days} days`
      return [{ level: leftMs <= 0 ? 'problem' : 'warning', what, fix: 'renew the certificate of the server' }]
    },
  }
}
