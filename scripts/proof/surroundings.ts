import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { up } from '../services/manager.ts'
import { projectDir } from '../services/paths.ts'
import { serviceNamed } from '../services/table.ts'

export interface Surroundings {
  readonly date: string
  readonly commit: string
  readonly versions: readonly string[]
  readonly hardware: string
}

/** What the figures were taken on; brings the servers up to ask them. */
export async function surroundings(): Promise<Surroundings> {
  const servers: string[] = []
  for (const name of ['postgres', 'redis', 'kafka', 'rabbitmq', 'nats']) {
    const service = serviceNamed(name)
    const version = await up(service, (line) => console.error(`${name}: ${line}`)).then(
      (running) => running.version,
      (error: unknown) => `not available (${error instanceof Error ? error.message : String(error)})`,
    )
    servers.push(`${service.title} ${version}`)
  }
  // The page itself does not count.
  const changed = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':(exclude)docs/proof.*')
  const clients = ['kafkajs', '@platformatic/kafka', 'amqplib', '@nats-io/jetstream', 'pg', 'ioredis'].map(
    (name) => `${name} ${packageVersion(name)}`,
  )
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: `${git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : '-dirty'}`,
    versions: [`Node ${process.version}`, ...servers, ...clients],
    hardware: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GB, everything on one machine`,
  }
}

function git(...args: readonly string[]): string {
  return execFileSync('git', args, { cwd: projectDir, encoding: 'utf8' }).trim()
}

function packageVersion(name: string): string {
  const file = join(projectDir, 'node_modules', name, 'package.json')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
