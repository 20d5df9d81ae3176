import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import { jetstreamManager } from '@nats-io/jetstream'
import { canInstall, install, isExecutable, onPath, run } from './commands.ts'
import { newerDebian } from './newer-debian.ts'
import { answered, launch } from './processes.ts'
import { Unavailable, type Place, type Progress, type Service, type Started } from './service.ts'

export interface NatsOptions extends Place {
  /** This Debian's server, or the newest of Debian, unpacked into a folder. @defaultValue `'debian'` */
  readonly flavour?: 'debian' | 'newest'
  /** Command-line flags on top of ours. */
  readonly flags?: readonly string[]
}

export const nats: Service = {
  name: 'nats',
  title: 'NATS with JetStream',
  urlVariable: 'HOLDFAST_NATS_URL',
  defaultPort: 14222,
  portCount: 1,
  container: (port) => natsContainer('nats:2.10-alpine', port),
  start: startNats,
  probe: natsVersion,
  stopSignal: 'SIGTERM',
}

/** A second, newer server, so that both ends of what we support are tested. */
export const natsNewest: Service = {
  ...nats,
  name: 'nats_newest',
  title: 'the newest NATS with JetStream',
  urlVariable: 'HOLDFAST_NATS_NEWEST_URL',
  defaultPort: 14232,
  container: (port) => natsContainer('nats:2-alpine', port),
  start: (place) => startNats({ ...place, flavour: 'newest' }),
}

export async function startNats(options: NatsOptions): Promise<Started> {
  const { dir, port, progress, flavour = 'debian', flags = [] } = options
  const server =
    flavour === 'debian' ? await installed(progress) : join(await newerDebian(progress), 'usr/sbin/nats-server')
  await mkdir(dir, { recursive: true })
  const log = join(dir, 'log')
  const place = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', join(dir, 'data')]
  const process = await launch(server, [...place, ...flags], { log })
  const url = `nats://127.0.0.1:${port}`
  const version = await answered(() => natsVersion(url), { name: 'nats', processes: [process], log })
  return { url, version, processes: [process] }
}

async function installed(progress: Progress): Promise<string> {
  const found = program()
  if (found !== undefined) return found
  if (canInstall()) {
    await install(['nats-server'], progress)
    // The package asks for a server at every boot of the machine.
    if (onPath('systemctl') !== undefined) await run('systemctl', ['disable', 'nats-server']).catch(() => {})
  }
  const server = program()
  if (server === undefined) {
    throw new Unavailable('install nats-server 2.9 or newer (Debian: apt-get install nats-server)')
  }
  return server
}

/** Debian puts it where only root's PATH looks. */
function program(): string | undefined {
  return onPath('nats-server') ?? ['/usr/sbin/nats-server'].find(isExecutable)
}

/** Rejects until JetStream answers too: it comes up after the port. */
async function natsVersion(url: string): Promise<string> {
  const connection = await connect({ servers: url, reconnect: false, timeout: 5_000 })
  try {
    await (await jetstreamManager(connection, { timeout: 5_000 })).getAccountInfo()
    return connection.info?.version ?? 'unknown'
  } finally {
    await connection.close()
  }
}

function natsContainer(image: string, port: number) {
  return {
    image,
    ports: [{ container: 4222, host: port }],
    command: ['-js'],
    url: `nats://127.0.0.1:${port}`,
  }
}
