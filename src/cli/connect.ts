import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { CliPool, Config, Surroundings } from './command.ts'
import { exits, Stop } from './exit.ts'
import { load } from './load.ts'
import { printable } from './terminal.ts'

const names = ['ts', 'mts', 'mjs', 'js'].map((extension) => `holdfast.config.${extension}`)

/** The default export of the config file, `{}` where there is none. */
export async function readConfig(given: string | undefined, around: Surroundings): Promise<Config> {
  const name = given ?? names.find((each) => existsSync(join(around.cwd, each)))
  if (name === undefined) return {}
  const { default: config } = await load(name, around)
  return typeof config === 'object' && config !== null ? config : {}
}

export interface Connection {
  readonly pool: CliPool
  close(): Promise<void>
}

/** Errors name host, port and database, never the user or the password. */
export function addressOf(url: string): string {
  try {
    const { hostname, port, pathname } = new URL(url)
    return `${hostname}:${port || '5432'}${pathname}`
  } catch {
    return 'the given address'
  }
}

export async function connect(url: string, timeoutMs: number): Promise<Connection> {
  const { default: pg } = await import('pg').catch(() => {
    throw new Stop(exits.usage, 'the package pg is not installed here: npm install pg')
  })
  const pool = new pg.Pool({
    connectionString: url,
    max: 4,
    connectionTimeoutMillis: Math.min(timeoutMs, 5000),
    statement_timeout: timeoutMs,
    application_name: 'holdfast command',
  })
  pool.on('error', () => undefined)
  try {
    const client = await pool.connect()
    client.release()
  } catch (error) {
    await pool.end()
    throw unreachable(url, error)
  }
  return { pool, close: () => pool.end() }
}

export function unreachable(url: string, error: unknown): Stop {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  const why =
    typeof code === 'string' && code !== '' ? code : error instanceof Error ? (error.message.split('\n')[0] ?? '') : ''
  // A message of the server may name the user: only its code is told then.
  return new Stop(
    exits.unavailable,
    `PostgreSQL at ${printable(addressOf(url))} cannot be reached: ${printable(/user|role/i.test(why) ? 'it refused the login' : why)}`,
  )
}
