import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import rhea from 'rhea'
import { brokerXml } from './activemq/broker.ts'
import { javaPrograms, versionIn, type Jars } from './java.ts'
import { answered, launch } from './processes.ts'
import type { Place, Service, Started } from './service.ts'

export interface ArtemisOptions extends Place {
  /** Parameters of the acceptor on top of ours, such as `amqpIdleTimeout=1000`. */
  readonly acceptor?: readonly string[]
}

const ARTEMIS_POM = join(import.meta.dirname, 'activemq/artemis-pom.xml')
const CLASSIC_POM = join(import.meta.dirname, 'activemq/classic-pom.xml')
const HEAP = [
  '-Xmx384m',
  '-XX:TieredStopAtLevel=1',
  '-XX:+UseSerialGC',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
]

/** ActiveMQ Artemis, on AMQP 1.0. */
export const artemis: Service = {
  name: 'artemis',
  title: 'ActiveMQ Artemis',
  urlVariable: 'HOLDFAST_ARTEMIS_URL',
  defaultPort: 15673,
  portCount: 1,
  start: startArtemis,
  probe: amqpVersion,
  stopSignal: 'SIGTERM',
}

/** ActiveMQ Classic: the older of the two brokers, on AMQP 1.0 too. */
export const activemq: Service = {
  name: 'activemq',
  title: 'ActiveMQ Classic',
  urlVariable: 'HOLDFAST_ACTIVEMQ_URL',
  defaultPort: 15674,
  portCount: 1,
  start: startActivemq,
  probe: amqpVersion,
  stopSignal: 'SIGTERM',
}

export async function startArtemis({ dir, port, progress, acceptor = [] }: ArtemisOptions): Promise<Started> {
  await mkdir(join(dir, 'etc'), { recursive: true })
  await writeFile(join(dir, 'etc/broker.xml'), brokerXml({ dir, port, acceptor }))
  const jars = { name: 'artemis', title: `Artemis ${versionIn(ARTEMIS_POM, 'artemis.version')}`, pom: ARTEMIS_POM }
  return start({ dir, port, progress }, jars, ['org.apache.activemq.artemis.core.server.embedded.Main', dir])
}

export async function startActivemq({ dir, port, progress }: Place): Promise<Started> {
  const version = versionIn(CLASSIC_POM, 'activemq.version')
  const jars = { name: 'activemq', title: `ActiveMQ Classic ${version}`, pom: CLASSIC_POM }
  const connector = `amqp://127.0.0.1:${port}?transport.wireFormat.idleTimeout=4000`
  const settings = `persistent=true&dataDirectory=${join(dir, 'data')}&useJmx=false&schedulerSupport=true`
  const broker = `broker:(${connector})/holdfast?${settings}`
  return start({ dir, port, progress }, jars, ['org.apache.activemq.console.command.ShellCommand', 'start', broker])
}

async function start({ dir, port, progress }: Place, jars: Jars, command: readonly string[]): Promise<Started> {
  const { java, classPath } = await javaPrograms(jars, progress)
  await mkdir(dir, { recursive: true })
  const log = join(dir, 'log')
  const process = await launch(java, [...HEAP, '-cp', classPath, ...command], { log, cwd: dir })
  const url = `amqp://127.0.0.1:${port}`
  const version = await answered(() => amqpVersion(url), { name: jars.name, processes: [process], log })
  return { url, version, processes: [process] }
}

/** Classic wants a user name, any one; Artemis does not mind one. */
async function amqpVersion(url: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const connection = rhea.create_container().connect({
    ...{ host: hostname, port: Number(port), username: 'holdfast', password: 'holdfast', reconnect: false },
  })
  try {
    return await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('it did not answer within 5 s')), 5_000)
      late.unref()
      connection.once('connection_open', () => {
        const version: unknown = connection.properties?.['version']
        resolve(typeof version === 'string' ? version : 'unknown')
      })
      for (const event of ['disconnected', 'connection_close', 'error'])
        connection.once(event, ({ error }: { readonly error?: Error }) => reject(error ?? new Error(event)))
    })
  } finally {
    connection.on('disconnected', () => {})
    connection.close()
  }
}
