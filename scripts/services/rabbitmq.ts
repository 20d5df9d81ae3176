import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import amqp from 'amqplib'
import { canInstall, install, isExecutable, onPath, run } from './commands.ts'
import { newerDebian, newerDebianRoot } from './newer-debian.ts'
import { areFree } from './ports.ts'
import { answered, launch, stop, type ProcessId } from './processes.ts'
import { Unavailable, type Place, type Progress, type Service, type Started } from './service.ts'

export interface RabbitmqOptions extends Place {
  /** This Debian's RabbitMQ, or the newest of Debian, unpacked into a folder. @defaultValue `'debian'` */
  readonly flavour?: 'debian' | 'newest'
  /** Lines of `rabbitmq.conf` on top of ours. */
  readonly settings?: readonly string[]
}

/** Where the programs are, and where a server that runs them sees its files. */
interface Installation {
  /** What stands before every command. */
  readonly within: readonly string[]
  /** The folder for its data, as we see it and as the server sees it. */
  readonly ours: string
  readonly theirs: string
}

const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'

export const rabbitmq: Service = {
  name: 'rabbitmq',
  title: 'RabbitMQ',
  urlVariable: 'HOLDFAST_RABBITMQ_URL',
  defaultPort: 16672,
  portCount: 3,
  container: (port) => rabbitmqContainer('rabbitmq:3.13-alpine', port),
  start: startRabbitmq,
  probe: rabbitmqVersion,
  stopSignal: 'SIGTERM',
}

/** A second, newer server, so that both ends of what we support are tested. */
export const rabbitmq4: Service = {
  ...rabbitmq,
  name: 'rabbitmq4',
  title: 'RabbitMQ 4',
  urlVariable: 'HOLDFAST_RABBITMQ4_URL',
  defaultPort: 16682,
  container: (port) => rabbitmqContainer('rabbitmq:4-alpine', port),
  start: (place) => startRabbitmq({ ...place, flavour: 'newest' }),
}

/** Takes three ports in a row: AMQP, Erlang's distribution, and the port mapper that Erlang asks for it. */
export async function startRabbitmq(options: RabbitmqOptions): Promise<Started> {
  const { dir, port, progress, flavour = 'debian', settings = [] } = options
  await mkdir(dir, { recursive: true })
  const installation = await (flavour === 'debian' ? installed(dir, progress) : unpacked(dir, progress))
  const { within, ours, theirs } = installation
  const config = [
    'loopback_users = none',
    `listeners.tcp.1 = 127.0.0.1:${port}`,
    'log.file.level = warning',
    ...settings,
  ]
  await writeFile(join(ours, 'rabbitmq.conf'), `${config.join('\n')}\n`)
  await writeFile(join(ours, 'plugins'), '[].\n')
  const log = join(dir, 'log')
  const env = environment(theirs, port)
  const begin = (command: readonly string[]) => {
    const [program = '', ...args] = [...within, ...command]
    return launch(program, args, { log, cwd: dir, env })
  }
  const processes: ProcessId[] = []
  try {
    // A port mapper of its own: Erlang would start one that outlives the server and is shared by all of this machine.
    processes.push(await begin(['/usr/bin/epmd', '-address', '127.0.0.1', '-port', String(port + 2)]))
    while (await areFree(port + 2)) await new Promise((resolve) => setTimeout(resolve, 20))
    processes.unshift(await begin([SERVER]))
    const url = `amqp://guest:guest@127.0.0.1:${port}`
    const version = await answered(() => rabbitmqVersion(url), { name: 'rabbitmq', processes, log })
    return { url, version, processes }
  } catch (error) {
    await Promise.all(processes.map((process) => stop(process, 'SIGKILL')))
    throw error
  }
}

function environment(dir: string, port: number): NodeJS.ProcessEnv {
  return {
    PATH: '/usr/bin:/usr/sbin:/bin',
    LANG: 'C.UTF-8',
    HOME: dir,
    RABBITMQ_NODENAME: `holdfast${port}@localhost`,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_DIST_PORT: String(port + 1),
    ERL_EPMD_PORT: String(port + 2),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_MNESIA_BASE: join(dir, 'data'),
    RABBITMQ_LOG_BASE: dir,
    RABBITMQ_LOGS: join(dir, 'rabbitmq.log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'plugins'),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'),
    // One scheduler: many small servers share the machine. The distribution listens on loopback only.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}',
  }
}

async function installed(dir: string, progress: Progress): Promise<Installation> {
  if (!isExecutable(SERVER) && canInstall()) {
    await install(['rabbitmq-server'], progress)
    // The package asks for a server at every boot of the machine.
    if (onPath('systemctl') !== undefined) await run('systemctl', ['disable', 'rabbitmq-server']).catch(() => {})
  }
  if (!isExecutable(SERVER)) {
    throw new Unavailable('install rabbitmq-server 3.10 or newer (Debian: apt-get install rabbitmq-server)')
  }
  return { within: [], ours: dir, theirs: dir }
}

/** The server sees nothing outside of the unpacked folder, so its data is in there. */
async function unpacked(dir: string, progress: Progress): Promise<Installation> {
  const root = await newerDebian(progress)
  const ours = unpackedHome(dir)
  const theirs = ours.slice(root.length)
  const mark = join(dir, 'begun')
  if (!existsSync(mark)) await rm(ours, { recursive: true, force: true })
  await mkdir(ours, { recursive: true })
  await writeFile(mark, '')
  return { within: ['chroot', root], ours, theirs }
}

/** Where the data of a server that runs from the unpacked folder is. */
export function unpackedHome(dir: string): string {
  return join(newerDebianRoot, 'srv', basename(dir))
}

async function rabbitmqVersion(url: string): Promise<string> {
  const connection = await amqp.connect(url, { timeout: 5_000 })
  connection.on('error', () => {})
  try {
    const channel = await connection.createChannel()
    await channel.close()
    const { version } = connection.connection.serverProperties
    return typeof version === 'string' ? version : 'unknown'
  } finally {
    await connection.close().catch(() => {})
  }
}

function rabbitmqContainer(image: string, port: number) {
  return {
    image,
    ports: [{ container: 5672, host: port }],
    url: `amqp://guest:guest@127.0.0.1:${port}`,
  }
}
