import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { canInstall, install, isRoot } from '../../scripts/services/commands.ts'
import { freePorts } from '../../scripts/services/ports.ts'
import { Unavailable } from '../../scripts/services/service.ts'

const programs = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer']

/** Whether there is one, or can be. */
export function havePgbouncer(): boolean {
  return programs.some(existsSync) || canInstall()
}

export interface Pgbouncer {
  readonly url: string
  /** Kills it with -9, and starts it again. */
  restart(): Promise<void>
  /** Whether it ended by itself. */
  readonly isGone: boolean
  /** The end of what it logged. */
  log(): Promise<string>
  dispose(): Promise<void>
}

async function found(): Promise<string> {
  if (!programs.some(existsSync) && canInstall()) await install(['pgbouncer'], (line) => console.error(line))
  const program = programs.find(existsSync)
  if (program === undefined) throw new Unavailable('install pgbouncer (Debian: apt-get install pgbouncer)')
  return program
}

/** A pgbouncer in transaction mode in front of a server. */
export async function pgbouncer(serverUrl: string): Promise<Pgbouncer> {
  const program = await found()
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-pgbouncer-'))
  await chmod(dir, 0o755)
  const port = await freePorts(1)
  const server = new URL(serverUrl)
  await writeFile(join(dir, 'users'), '"postgres" ""\n')
  await writeFile(
    join(dir, 'ini'),
    `[databases]
* = host=${server.hostname} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${join(dir, 'users')}
pool_mode = transaction
default_pool_size = 4
server_reset_query =
logfile = ${join(dir, 'log')}
`,
  )
  await writeFile(join(dir, 'log'), '')
  await chmod(join(dir, 'log'), 0o666)
  const url = `postgres://postgres@127.0.0.1:${port}${server.pathname}`
  async function begin(): Promise<ChildProcess> {
    const child = spawn(program, [...(isRoot ? ['-u', 'postgres'] : []), '-q', join(dir, 'ini')], { stdio: 'ignore' })
    for (let tries = 0; ; tries++) {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
      client.on('error', () => {})
      try {
        await client.connect()
        await client.end()
        return child
      } catch (error) {
        if (tries > 100 || child.exitCode !== null) {
          child.kill('SIGKILL')
          throw error
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }
  let child = await begin()
  const isGone = (): boolean => child.exitCode !== null || child.signalCode !== null
  async function kill(): Promise<void> {
    if (isGone()) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  return {
    url,
    get isGone() {
      return isGone()
    },
    log: async () => (await readFile(join(dir, 'log'), 'utf8').catch(() => '')).split('\n').slice(-20).join('\n'),
    async restart() {
      await kill()
      child = await begin()
    },
    async dispose() {
      await kill()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
