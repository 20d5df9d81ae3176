import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import kafkajs from 'kafkajs'
import { run } from './commands.ts'
import { kafkaPrograms, kafkaVersion, type KafkaPrograms } from './kafka-programs.ts'
import { CREDENTIALS, brokerProperties, portsOf, securityOf } from './kafka-properties.ts'
import { answered, launch, stop, type ProcessId } from './processes.ts'
import type { Place, Service, Started } from './service.ts'

export interface KafkaOptions extends Place {
  /** Brokers, each its own process; every one is a controller too. @defaultValue 1 */
  readonly nodes?: number
  /** Adds listeners with SASL/SCRAM, plain and over TLS. @defaultValue false */
  readonly secure?: boolean
  /** Settings on top of ours, as lines of a properties file. */
  readonly settings?: readonly string[]
}

export const kafka: Service = {
  name: 'kafka',
  title: 'Apache Kafka',
  urlVariable: 'HOLDFAST_KAFKA_BROKERS',
  defaultPort: 19092,
  portCount: 2,
  container: (port) => ({
    image: `apache/kafka:${kafkaVersion()}`,
    ports: [{ container: port, host: port }],
    environment: containerSettings(port),
    url: `127.0.0.1:${port}`,
  }),
  start: startKafka,
  probe: (brokers) => kafkaAnswers(brokers),
  stopSignal: 'SIGTERM',
}

/** Three brokers, for what one alone cannot show: replication, a broker lost, a coordinator that moves. */
export const kafka3: Service = {
  name: 'kafka3',
  title: 'Apache Kafka, three brokers',
  urlVariable: 'HOLDFAST_KAFKA3_BROKERS',
  defaultPort: 19192,
  portCount: 6,
  start: (place) => startKafka({ ...place, nodes: 3 }),
  probe: (brokers) => kafkaAnswers(brokers, 3),
  stopSignal: 'SIGTERM',
}

export async function startKafka(options: KafkaOptions): Promise<Started> {
  const { dir, port, progress, nodes = 1, secure = false } = options
  const programs = await kafkaPrograms(progress)
  if (!existsSync(join(dir, 'formatted'))) await format(programs, options)
  const log = join(dir, 'log')
  const processes: ProcessId[] = []
  try {
    for (let node = 0; node < nodes; node++) processes.push(await launchNode(programs, options, node))
    const ports = Array.from({ length: nodes }, (_, node) => portsOf(port, node, nodes))
    const list = (of: (node: (typeof ports)[number]) => number) =>
      ports.map((node) => `127.0.0.1:${of(node)}`).join(',')
    const url = list(({ client }) => client)
    await answered(() => kafkaAnswers(url, nodes), { name: 'kafka', processes, log })
    const also = secure ? { sasl: list(({ sasl }) => sasl), tls: list(({ tls }) => tls), ca: join(dir, 'ca.pem') } : {}
    return { url, version: kafkaVersion(), processes, also }
  } catch (error) {
    await Promise.all(processes.map((process) => stop(process, 'SIGKILL')))
    throw error
  }
}

/** Starts one broker of a formatted cluster. */
function launchNode(programs: KafkaPrograms, { dir, nodes = 1 }: KafkaOptions, node: number): Promise<ProcessId> {
  const heap = nodes === 1 ? '-Xmx512m' : '-Xmx384m'
  const logging = `-Dlog4j2.configurationFile=${join(import.meta.dirname, 'kafka/log4j2.yaml')}`
  const args = [
    heap,
    '-XX:TieredStopAtLevel=1',
    logging,
    '-cp',
    programs.classPath,
    'kafka.Kafka',
    properties(dir, node),
  ]
  return launch(programs.java, args, { log: join(dir, 'log') })
}

async function format(programs: KafkaPrograms, options: KafkaOptions): Promise<void> {
  const { dir, port, nodes = 1, secure = false, settings = [] } = options
  await mkdir(dir, { recursive: true })
  const security = secure ? await securityOf(programs, dir) : []
  const cluster = randomId()
  const voters = Array.from(
    { length: nodes },
    (_, node) => `${node + 1}@127.0.0.1:${portsOf(port, node, nodes).controller}:${randomId()}`,
  )
  const work = voters.map(async (_, node) => {
    const file = properties(dir, node)
    await writeFile(file, brokerProperties({ dir, port, node, nodes, secure }, [...security, ...settings]).join('\n'))
    const tool = ['-Xmx128m', '-XX:TieredStopAtLevel=1', '-cp', programs.classPath, 'kafka.tools.StorageTool', 'format']
    const users = secure ? CREDENTIALS.flatMap((credential) => ['--add-scram', credential]) : []
    await run(programs.java, [...tool, '-t', cluster, '-c', file, '--initial-controllers', voters.join(','), ...users])
  })
  await Promise.all(work)
  await writeFile(join(dir, 'formatted'), `${cluster}\n`)
}

function properties(dir: string, node: number): string {
  return join(dir, `node-${node + 1}.properties`)
}

/** Rejects until all brokers are there and the group coordinator can be asked, which a fresh cluster has to make first. */
async function kafkaAnswers(brokers: string, atLeast = 1): Promise<string> {
  const client = new kafkajs.Kafka({
    clientId: 'holdfast-services',
    brokers: brokers.split(','),
    logLevel: kafkajs.logLevel.NOTHING,
    connectionTimeout: 3_000,
    requestTimeout: 5_000,
    retry: { retries: 0 },
  })
  const admin = client.admin()
  try {
    await admin.connect()
    const { brokers: members } = await admin.describeCluster()
    if (members.length < atLeast) throw new Error(`${members.length} of ${atLeast} brokers are there`)
    await admin.fetchOffsets({ groupId: 'holdfast-services' })
    return 'unknown'
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Kafka's ids are 16 bytes in URL-safe base64; its tools would take a leading dash for a flag. */
function randomId(): string {
  for (;;) {
    const id = randomBytes(16).toString('base64url')
    if (!id.startsWith('-')) return id
  }
}

function containerSettings(port: number): Record<string, string> {
  return {
    KAFKA_NODE_ID: '1',
    KAFKA_PROCESS_ROLES: 'broker,controller',
    KAFKA_CONTROLLER_QUORUM_VOTERS: '1@127.0.0.1:9093',
    KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
    KAFKA_LISTENERS: `PLAINTEXT://0.0.0.0:${port},CONTROLLER://127.0.0.1:9093`,
    KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://127.0.0.1:${port}`,
    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
    KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
    KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
    KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR: '1',
    KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR: '1',
    KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
    KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS: '1000',
  }
}
