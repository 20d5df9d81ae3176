import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { canInstall, install, onPath } from './commands.ts'
import { answered, launch } from './processes.ts'
import { Unavailable, type Place, type Progress, type Service, type Started } from './service.ts'

export interface RedisOptions extends Place {
  /** Settings on top of ours, as command-line flags. */
  readonly flags?: readonly string[]
}

const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '']

export const redis: Service = {
  name: 'redis',
  title: 'Redis',
  urlVariable: 'HOLDFAST_REDIS_URL',
  defaultPort: 16379,
  portCount: 1,
  container: (port) => ({
    image: 'redis:7-alpine',
    ports: [{ container: 6379, host: port }],
    command: ['redis-server', ...DURABLE],
    url: `redis://127.0.0.1:${port}`,
  }),
  start: startRedis,
  probe: redisVersion,
  stopSignal: 'SIGTERM',
}

export async function startRedis({ dir, port, progress, flags = [] }: RedisOptions): Promise<Started> {
  const server = await redisServer(progress)
  const data = join(dir, 'data')
  const log = join(dir, 'log')
  await mkdir(data, { recursive: true })
  const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', data, '--daemonize', 'no']
  const process = await launch(server, [...place, ...DURABLE, ...flags], { log })
  const url = `redis://127.0.0.1:${port}`
  const version = await answered(() => redisVersion(url), { name: 'redis', processes: [process], log })
  return { url, version, processes: [process] }
}

async function redisServer(progress: Progress): Promise<string> {
  const found = onPath('redis-server')
  if (found !== undefined) return found
  if (canInstall()) await install(['redis-server'], progress)
  const installed = onPath('redis-server')
  if (installed === undefined)
    throw new Unavailable('install redis-server 7 or newer (Debian: apt-get install redis-server)')
  return installed
}

async function redisVersion(url: string): Promise<string> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    // While it loads its file it answers with an error, which is not yet an answer.
    await client.ping()
    return /redis_version:(\S+)/.exec(await client.info('server'))?.[1] ?? 'unknown'
  } finally {
    client.disconnect()
  }
}
