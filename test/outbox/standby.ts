import { existsSync, readdirSync, statSync } from 'node:fs'
import { chown, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../scripts/services/commands.ts'
import { servicesDir } from '../../scripts/services/paths.ts'
import { freePorts } from '../../scripts/services/ports.ts'
import { postgresHome, startPostgres } from '../../scripts/services/postgres.ts'
import { stop } from '../../scripts/services/processes.ts'
import { uniqueName } from '../support/services.ts'

/** A folder with PostgreSQL's tools; the embedded server comes without them. */
export const toolsDir = existsSync('/usr/lib/postgresql')
  ? readdirSync('/usr/lib/postgresql')
      .map((version) => `/usr/lib/postgresql/${version}/bin`)
      .findLast((bin) => existsSync(join(bin, 'pg_basebackup')) && existsSync(join(bin, 'pg_dump')))
  : undefined

export function tool(name: string, args: readonly string[]): Promise<string> {
  if (toolsDir === undefined) throw new Error('install PostgreSQL 15 or newer (Debian: apt-get install postgresql)')
  return run(join(toolsDir, name), args)
}

export interface Server {
  readonly url: string
  /** A hot standby that streams from it. */
  standby(): Promise<Server>
  dispose(): Promise<void>
}

export async function server(from?: Server): Promise<Server> {
  const dir = join(servicesDir, 'private', uniqueName('postgres'))
  await mkdir(dir, { recursive: true })
  if (from !== undefined) await copy(from.url, dir)
  const place = { dir, port: await freePorts(1), progress: () => {}, flavour: 'debian' as const }
  const started = await startPostgres({ ...place, settings: ['fsync=off', 'hot_standby=on'] })
  const self: Server = {
    url: started.url,
    standby: () => server(self),
    async dispose() {
      await Promise.all(started.processes.map((process) => stop(process, 'SIGQUIT')))
      await rm(postgresHome(dir), { recursive: true, force: true })
      await rm(dir, { recursive: true, force: true })
    },
  }
  return self
}

async function copy(url: string, dir: string): Promise<void> {
  const data = join(postgresHome(dir), 'data')
  await mkdir(postgresHome(dir), { recursive: true })
  await tool('pg_basebackup', ['-d', url, '-D', data, '-R', '-X', 'stream', '--checkpoint=fast'])
  if (process.getuid?.() !== 0) return
  // The server does not run as root, and neither may its files be root's.
  const { uid, gid } = statSync('/var/lib/postgresql')
  await run('chown', ['-R', `${uid}:${gid}`, data])
  await chown(data, uid, gid)
}
