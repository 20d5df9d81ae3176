import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { onPath } from '../scripts/services/commands.ts'

const debian = '/usr/lib/postgresql'

/** The path of pgbench, PostgreSQL's own driver in C. Debian keeps it off the PATH. */
export function pgbench(): string {
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  const found = versions.map((version) => join(debian, version, 'bin/pgbench')).find((file) => existsSync(file))
  const program = found ?? onPath('pgbench')
  if (program === undefined)
    throw new Error('bench: pgbench is missing; install PostgreSQL (Debian: apt-get install postgresql)')
  return program
}
