import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { javaPrograms, versionIn } from './java.ts'
import { answered, launch } from './processes.ts'
import { pulsarToken, securityLines, type PulsarSecurity } from './pulsar-security.ts'
import type { Place, Service, Started } from './service.ts'

export interface PulsarOptions extends Place {
  /** Settings on top of ours, as lines of `standalone.conf`. */
  readonly settings?: readonly string[]
  /** TLS on a third port, and tokens. */
  readonly secure?: PulsarSecurity | undefined
}

const POM = join(import.meta.dirname, 'pulsar/pom.xml')
const MAIN = 'org.apache.pulsar.PulsarStandaloneStarter'
const OPENED = [
  ...['sun.net', 'java.lang', 'java.nio', 'jdk.internal.misc', 'jdk.internal.platform', 'sun.nio.ch', 'java.util.zip'],
].map((name) => `java.base/${name}`)

/** Apache Pulsar: broker and storage in one process. The second port is the web service's. */
export const pulsar: Service = {
  name: 'pulsar',
  title: 'Apache Pulsar',
  urlVariable: 'HOLDFAST_PULSAR_URL',
  defaultPort: 16650,
  portCount: 2,
  start: startPulsar,
  probe: (url) => pulsarVersion(url),
  stopSignal: 'SIGTERM',
}

export async function startPulsar({ dir, port, progress, settings = [], secure }: PulsarOptions): Promise<Started> {
  const version = versionIn(POM, 'pulsar.version')
  const jars = { name: 'pulsar', title: `Pulsar ${version} (232 MB)`, pom: POM }
  const { java, classPath } = await javaPrograms(jars, progress)
  await mkdir(dir, { recursive: true })
  const config = join(dir, 'standalone.conf')
  const security = secure === undefined ? [] : securityLines(secure, port + 2)
  await writeFile(config, [...configuration(port), ...security, ...settings, ''].join('\n'))
  const log = join(dir, 'log')
  const opens = [...OPENED, 'java.management/sun.management'].flatMap((name) => ['--add-opens', `${name}=ALL-UNNAMED`])
  const heap = ['-Xms256m', '-Xmx768m', '-XX:MaxDirectMemorySize=512m', '-XX:TieredStopAtLevel=1']
  const logging = `-Dlog4j2.configurationFile=${join(import.meta.dirname, 'pulsar/log4j2.yaml')}`
  const storage = ['--metadata-dir', join(dir, 'meta'), '--bookkeeper-dir', join(dir, 'bookies'), '--num-bookies', '1']
  const flags = ['--config', config, '--no-functions-worker', '--no-stream-storage', ...storage]
  const process = await launch(java, [...heap, ...opens, logging, '-cp', classPath, MAIN, ...flags], { log, cwd: dir })
  const url = `pulsar://127.0.0.1:${port}`
  const token = secure === undefined ? undefined : pulsarToken(secure.secret, 'admin')
  await answered(() => pulsarVersion(url, token), { name: 'pulsar', processes: [process], log, withinMs: 180_000 })
  const tls = secure === undefined ? {} : { tls: `pulsar+ssl://127.0.0.1:${port + 2}` }
  return { url, version, processes: [process], also: { web: webOf(url), ...tls } }
}

/** It takes connections before it serves topics: it is ready when it knows the tenant `public`. */
async function pulsarVersion(url: string, token?: string): Promise<string> {
  const web = webOf(url)
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const get = (path: string) => fetch(`${web}/admin/v2/${path}`, { headers, signal: AbortSignal.timeout(5_000) })
  const namespaces = await get('namespaces/public')
  if (!namespaces.ok) throw new Error(`the web service answers ${namespaces.status}`)
  const answer = await get('brokers/version')
  return (await answer.text()).trim()
}

function webOf(url: string): string {
  const { hostname, port } = new URL(url)
  return `http://${hostname}:${Number(port) + 1}`
}

function configuration(port: number): readonly string[] {
  return [
    'clusterName=standalone',
    'bindAddress=127.0.0.1',
    'advertisedAddress=127.0.0.1',
    `brokerServicePort=${port}`,
    `webServicePort=${port + 1}`,
    'brokerDeduplicationEnabled=true',
    'brokerDeduplicationEntriesInterval=1000',
    'brokerDeduplicationSnapshotIntervalSeconds=5',
    'brokerDeleteInactiveTopicsEnabled=false',
    'managedLedgerDefaultEnsembleSize=1',
    'managedLedgerDefaultWriteQuorum=1',
    'managedLedgerDefaultAckQuorum=1',
    'keepAliveIntervalSeconds=4',
    // Room for what the broker adds to a message of its largest size, as in Pulsar's own file.
    'nettyMaxFrameSizeBytes=5253120',
    'allowLoopback=true',
  ]
}
