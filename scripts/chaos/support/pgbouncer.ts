import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { freePorts } from '../../services/ports.ts'

export const pgbouncerProgram = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer'].find(
  existsSync,
)

/** A pgbouncer in transaction mode in front of a server. */
export async function pgbouncer(serverUrl: string): Promise<{ url: string; dispose(): Promise<void> }> {
  if (pgbouncerProgram === undefined) throw new Error('install pgbouncer (Debian: apt-get install pgbouncer)')
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
`,
  )
  const isRoot = process.getuid?.() === 0
  const child = spawn(pgbouncerProgram, [...(isRoot ? ['-u', 'postgres'] : []), '-q', join(dir, 'ini')], {
    stdio: 'ignore',
  })
  const url = `postgres://postgres@127.0.0.1:${port}${server.pathname}`
  for (let tries = 0; ; tries++) {
    const client = new pg.Client({ connectionString: url })
    try {
      await client.connect()
      await client.end()
      break
    } catch (error) {
      if (tries > 100 || child.exitCode !== null) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  return {
    url,
    async dispose() {
      child.kill('SIGKILL')
      await rm(dir, { recursive: true, force: true })
    },
  }
}
