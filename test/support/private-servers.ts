import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startActivemq, startArtemis, type ArtemisOptions } from '../../scripts/services/activemq.ts'
import { startKafka, type KafkaOptions } from '../../scripts/services/kafka.ts'
import { startNats, type NatsOptions } from '../../scripts/services/nats.ts'
import { servicesDir } from '../../scripts/services/paths.ts'
import { freePorts } from '../../scripts/services/ports.ts'
import { postgresHome, startPostgres, type PostgresOptions } from '../../scripts/services/postgres.ts'
import { gone, isAlive, signal, stop, type ProcessId } from '../../scripts/services/processes.ts'
import { startPrometheus, type PrometheusOptions } from '../../scripts/services/prometheus.ts'
import { pulsarClusterPorts, startPulsarCluster } from '../../scripts/services/pulsar-cluster.ts'
import { startPulsar, type PulsarOptions } from '../../scripts/services/pulsar.ts'
import { startRabbitmq, type RabbitmqOptions, unpackedHome } from '../../scripts/services/rabbitmq.ts'
import { startRegistry } from '../../scripts/services/registry.ts'
import { startRedis, type RedisOptions } from '../../scripts/services/redis.ts'
import type { Place, Started } from '../../scripts/services/service.ts'
import { uniqueName } from './unique-name.ts'

/** A server of one test's own, to be stopped, killed and started again; its address and its data stay. */
export interface PrivateServer {
  readonly url: string
  readonly port: number
  /** Further addresses, by what they are for. */
  readonly also: Readonly<Record<string, string>>
  /** The processes of this moment. */
  processes(): readonly ProcessId[]
  /** Shuts it down in good order. */
  stop(): Promise<void>
  start(): Promise<void>
  /** Signals every process of the server; after one that ends them it waits until they are gone. */
  kill(name: NodeJS.Signals): Promise<void>
  /** Stops it and removes its data. */
  dispose(): Promise<void>
}

type Only<Options> = Omit<Options, keyof Place>

interface Ownership {
  readonly owner: number
  readonly processes: readonly ProcessId[]
}

const PRIVATE = join(servicesDir, 'private')

const ends: ReadonlySet<NodeJS.Signals> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGQUIT'])

export function privatePostgres(options: Only<PostgresOptions> = {}): Promise<PrivateServer> {
  return privateServer('postgres', 1, 'SIGINT', (place) => startPostgres({ ...place, ...options }))
}

export function privateRedis(options: Only<RedisOptions> = {}): Promise<PrivateServer> {
  return privateServer('redis', 1, 'SIGTERM', (place) => startRedis({ ...place, ...options }))
}

export function privateKafka(options: Only<KafkaOptions> = {}): Promise<PrivateServer> {
  const { nodes = 1, secure = false } = options
  return privateServer('kafka', nodes * (secure ? 4 : 2), 'SIGTERM', (place) => startKafka({ ...place, ...options }))
}

export function privateRabbitmq(options: Only<RabbitmqOptions> = {}): Promise<PrivateServer> {
  return privateServer('rabbitmq', 3, 'SIGTERM', (place) => startRabbitmq({ ...place, ...options }))
}

export function privateNats(options: Only<NatsOptions> = {}): Promise<PrivateServer> {
  return privateServer('nats', 1, 'SIGTERM', (place) => startNats({ ...place, ...options }))
}

export function privateArtemis(options: Only<ArtemisOptions> = {}): Promise<PrivateServer> {
  return privateServer('artemis', 1, 'SIGTERM', (place) => startArtemis({ ...place, ...options }))
}

export function privateActivemq(): Promise<PrivateServer> {
  return privateServer('activemq', 1, 'SIGTERM', startActivemq)
}

export function privatePulsar(options: Only<PulsarOptions> = {}): Promise<PrivateServer> {
  const ports = options.secure === undefined ? 2 : 3
  return privateServer('pulsar', ports, 'SIGTERM', (place) => startPulsar({ ...place, ...options }))
}

/** Two brokers, a proxy and their storage, in this order in `processes()`. Nothing is kept, so they are ended at once. */
export function privatePulsarCluster(): Promise<PrivateServer> {
  return privateServer('pulsar-cluster', pulsarClusterPorts, 'SIGKILL', startPulsarCluster)
}

export function privatePrometheus(options: Only<PrometheusOptions>): Promise<PrivateServer> {
  return privateServer('prometheus', 1, 'SIGTERM', (place) => startPrometheus({ ...place, ...options }))
}

export function privateRegistry(): Promise<PrivateServer> {
  return privateServer('registry', 1, 'SIGTERM', startRegistry)
}

/** Stops the servers whose test process died before it could. */
export async function sweepPrivateServers(): Promise<void> {
  for (const name of await readdir(PRIVATE).catch(() => [])) {
    const dir = join(PRIVATE, name)
    const owned = await readFile(join(dir, 'owner.json'), 'utf8').catch(() => undefined)
    if (owned === undefined) continue
    const { owner, processes } = JSON.parse(owned) as Ownership
    if (isRunning(owner)) continue
    await Promise.all(processes.map((id) => stop(id, 'SIGKILL')))
    await removeData(dir)
  }
}

async function privateServer(
  kind: string,
  portCount: number,
  stopSignal: NodeJS.Signals,
  run: (place: Place) => Promise<Started>,
): Promise<PrivateServer> {
  const dir = join(PRIVATE, uniqueName(kind))
  await mkdir(dir, { recursive: true })
  const port = await freePorts(portCount)
  const begin = async () => {
    const started = await run({ dir, port, progress: (line) => console.error(`${kind}: ${line}`) })
    const ownership: Ownership = { owner: process.pid, processes: started.processes }
    await writeFile(join(dir, 'owner.json'), JSON.stringify(ownership))
    return started
  }
  let current = await begin()
  const halt = async () => {
    await Promise.all(current.processes.map((id) => stop(id, stopSignal)))
  }
  return {
    url: current.url,
    port,
    also: current.also ?? {},
    processes: () => current.processes,
    stop: halt,
    start: async () => {
      if (!current.processes.some(isAlive)) current = await begin()
    },
    kill: async (name) => {
      for (const id of current.processes) signal(id, name, 'group')
      if (!ends.has(name)) return
      await Promise.all(current.processes.map((id) => gone(id, 15_000)))
    },
    dispose: async () => {
      await halt()
      await removeData(dir)
    },
  }
}

async function removeData(dir: string): Promise<void> {
  await rm(postgresHome(dir), { recursive: true, force: true })
  await rm(unpackedHome(dir), { recursive: true, force: true })
  await rm(dir, { recursive: true, force: true })
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
