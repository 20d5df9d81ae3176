import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { answered } from './processes.ts'
import { launchPulsar, pulsarJarsVersion, pulsarPrograms } from './pulsar-program.ts'
import { pulsarToken, securityLines, type PulsarSecurity } from './pulsar-security.ts'
import type { Place, Service, Started } from './service.ts'

export interface PulsarOptions extends Place {
  /** Settings on top of ours, as lines of `standalone.conf`. */
  readonly settings?: readonly string[]
  /** TLS on a third port, and tokens. */
  readonly secure?: PulsarSecurity | undefined
}

const MAIN = 'org.apache.pulsar.PulsarStandaloneStarter'

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
  const programs = await pulsarPrograms(progress)
  await mkdir(dir, { recursive: true })
  const config = join(dir, 'standalone.conf')
  const security = secure === undefined ? [] : securityLines(secure, port + 2)
  await writeFile(config, [...brokerLines(port), ...security, ...settings, ''].join('\n'))
  const log = join(dir, 'log')
  const storage = ['--metadata-dir', join(dir, 'meta'), '--bookkeeper-dir', join(dir, 'bookies'), '--num-bookies', '1']
  const flags = ['--config', config, '--no-functions-worker', '--no-stream-storage', ...storage]
  const process = await launchPulsar({ ...programs, main: MAIN, flags, heapMb: 768, directMb: 512, dir, log })
  const url = `pulsar://127.0.0.1:${port}`
  const token = secure === undefined ? undefined : pulsarToken(secure.secret, 'admin')
  await answered(() => pulsarVersion(url, token), { name: 'pulsar', processes: [process], log, withinMs: 180_000 })
  const tls = secure === undefined ? {} : { tls: `pulsar+ssl://127.0.0.1:${port + 2}` }
  return { url, version: pulsarJarsVersion, processes: [process], also: { web: webOf(url), ...tls } }
}

/** It takes connections before it serves topics: it is ready when it knows the tenant `public`. */
export async function pulsarVersion(url: string, token?: string): Promise<string> {
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

/** Settings of a broker with its web service on the port after. */
export function brokerLines(port: number): readonly string[] {
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
