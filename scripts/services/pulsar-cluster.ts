import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { run } from './commands.ts'
import { javaPrograms, versionIn, type JavaPrograms } from './java.ts'
import { answered, stop, type ProcessId } from './processes.ts'
import { launchPulsar, pulsarJarsVersion, pulsarPrograms, type PulsarProgram } from './pulsar-program.ts'
import { brokerLines, pulsarVersion } from './pulsar.ts'
import type { Place, Progress, Started } from './service.ts'

const PROXY_POM = join(import.meta.dirname, 'pulsar/proxy-pom.xml')
const STORAGE = 'org.apache.pulsar.PulsarStandaloneStarter'
const SETUP = 'org.apache.pulsar.PulsarClusterMetadataSetup'
const BROKER = 'org.apache.pulsar.PulsarBrokerStarter'
const PROXY = 'org.apache.pulsar.proxy.server.ProxyServiceStarter'
const withinMs = 180_000

/** Ports in a row that the cluster takes. */
export const pulsarClusterPorts = 8

const portsFrom = (port: number) => ({
  ...{ first: port, second: port + 2, proxy: port + 4 },
  ...{ zookeeper: port + 6, bookie: port + 7 },
})

// Bundles stay where they are put.
const still = ['loadBalancerSheddingEnabled=false', 'loadBalancerAutoBundleSplitEnabled=false']

/**
 * Four processes in this order: two brokers, a proxy, and ZooKeeper with the storage. A broker that is a standalone one
 * would name itself as a proxy, so neither is. `also` has their addresses.
 */
export async function startPulsarCluster({ dir, port, progress }: Place): Promise<Started> {
  const ports = portsFrom(port)
  const log = join(dir, 'log')
  const programs = await clusterPrograms(progress)
  await mkdir(dir, { recursive: true })
  const processes: ProcessId[] = []
  const ready = (name: string, ask: () => Promise<unknown>) => answered(ask, { name, processes, log, withinMs })
  const begin = async (
    name: string,
    lines: readonly string[],
    program: Pick<PulsarProgram, 'main'> & Partial<PulsarProgram>,
  ) => {
    const config = join(dir, `${name}.conf`)
    await writeFile(config, [...lines, ''].join('\n'))
    const memory = { heapMb: 256, directMb: 256 }
    return launchPulsar({
      ...programs,
      ...memory,
      ...program,
      dir,
      log,
      flags: ['-c', config, ...(program.flags ?? [])],
    })
  }
  const metadata = `zk:127.0.0.1:${ports.zookeeper}`
  const stores = [`metadataStoreUrl=${metadata}`, `configurationMetadataStoreUrl=${metadata}`]
  const beginBroker = (name: string, at: number) =>
    begin(name, [...brokerLines(at), ...stores, ...still], { main: BROKER })
  try {
    const storage = await begin('storage', [...brokerLines(ports.first), ...stores], {
      ...{ main: STORAGE, env: { PULSAR_STANDALONE_USE_ZOOKEEPER: '1' } },
      flags: [
        ...['--no-broker', '--no-functions-worker', '--no-stream-storage', '--num-bookies', '1'],
        ...['--zookeeper-port', String(ports.zookeeper), '--zookeeper-dir', join(dir, 'zookeeper')],
        ...['--bookkeeper-port', String(ports.bookie), '--bookkeeper-dir', join(dir, 'bookies')],
      ],
    })
    processes.push(storage)
    await ready('ZooKeeper', () => isListening(ports.zookeeper))
    await ready('the storage', () => isListening(ports.bookie))
    await setUp(programs, metadata, ports.first)
    processes.unshift(await beginBroker('first', ports.first))
    await ready('the first broker', () => pulsarVersion(url(ports.first)))
    processes.splice(1, 0, await beginBroker('second', ports.second))
    const proxy = await begin('proxy', proxyLines(ports.proxy, stores), { main: PROXY, heapMb: 128, directMb: 128 })
    processes.splice(2, 0, proxy)
    await ready('the second broker', () => twoBrokersAt(web(ports.second)))
    await ready('the proxy', () => twoBrokersAt(web(ports.proxy)))
  } catch (error) {
    await Promise.all(processes.map((process) => stop(process, 'SIGKILL')))
    throw error
  }
  const also = {
    ...{ web: web(ports.first), second: url(ports.second), secondWeb: web(ports.second) },
    proxy: url(ports.proxy),
  }
  return { url: url(ports.first), version: pulsarJarsVersion, processes, also }
}

const url = (port: number): string => `pulsar://127.0.0.1:${port}`
const web = (port: number): string => `http://127.0.0.1:${port + 1}`

/** Writes the cluster and its first tenant down. */
async function setUp({ java, classPath }: JavaPrograms, metadata: string, port: number): Promise<void> {
  const stores = ['--metadata-store', metadata, '--configuration-metadata-store', metadata]
  const addresses = ['--web-service-url', web(port), '--broker-service-url', url(port)]
  const heap = ['-Xmx128m', '-XX:TieredStopAtLevel=1']
  await run(java, [...heap, '-cp', classPath, SETUP, '--cluster', 'standalone', ...stores, ...addresses])
}

function isListening(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.destroy()
      resolve()
    })
  })
}

async function clusterPrograms(progress: Progress): Promise<JavaPrograms> {
  const { java, classPath } = await pulsarPrograms(progress)
  const jars = {
    name: 'pulsar-proxy',
    title: `the proxy of Pulsar ${versionIn(PROXY_POM, 'pulsar.version')} (2 MB)`,
    pom: PROXY_POM,
  }
  const proxy = await javaPrograms(jars, progress)
  return { java, classPath: [classPath, proxy.classPath].join(delimiter) }
}

function proxyLines(port: number, stores: readonly string[]): readonly string[] {
  return [
    'clusterName=standalone',
    'bindAddress=127.0.0.1',
    'advertisedAddress=127.0.0.1',
    `servicePort=${port}`,
    `webServicePort=${port + 1}`,
    ...stores,
    'brokerProxyAllowedHostNames=127.0.0.1',
    'brokerProxyAllowedIPAddresses=127.0.0.1',
    'brokerProxyAllowedTargetPorts=*',
  ]
}

async function twoBrokersAt(web: string): Promise<void> {
  const answer = await fetch(`${web}/admin/v2/brokers/standalone`, { signal: AbortSignal.timeout(5_000) })
  if (!answer.ok) throw new Error(`the web service answers ${answer.status}`)
  const brokers = (await answer.json()) as readonly string[]
  if (brokers.length < 2) throw new Error(`${brokers.length} of 2 brokers are there`)
}
