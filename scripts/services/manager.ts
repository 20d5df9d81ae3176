import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { engine, removeContainer, startContainer } from './containers.ts'
import { withLock } from './lock.ts'
import { servicesDir } from './paths.ts'
import { areFree, freePorts } from './ports.ts'
import { postgresHome } from './postgres.ts'
import { answered, stop } from './processes.ts'
import { folderOf, forget, isUp, readRecord, writeRecord, type Running } from './records.ts'
import { Unavailable, type Progress, type Service } from './service.ts'

/** Gives the service: from the environment, else one that runs, else a container, else a server on this machine. */
export async function up(service: Service, progress: Progress): Promise<Running & { readonly already: boolean }> {
  const given = process.env[service.urlVariable]
  if (given !== undefined && given !== '') return { ...(await fromEnvironment(service, given)), already: true }
  const work = async () => {
    const before = await running(service, progress)
    if (before !== undefined) return { ...before, already: true }
    const started = (await inContainer(service, progress)) ?? (await onThisMachine(service, progress))
    await writeRecord(service.name, started)
    return { ...started, already: false }
  }
  return withLock(lockOf(service), work, () => progress('waiting for another command that is at it…'))
}

/** Stops the service if one of our commands started it; says whether it did. */
export async function down(service: Service): Promise<boolean> {
  return withLock(lockOf(service), async () => {
    const record = await readRecord(service.name)
    const wasUp = record !== undefined && (await isUp(record))
    if (record !== undefined) await stopRecorded(service, record)
    await forget(service.name)
    await clear(service)
    return wasUp
  })
}

/** What is there now, without starting anything. */
export async function status(service: Service): Promise<Running | undefined> {
  const given = process.env[service.urlVariable]
  if (given !== undefined && given !== '') return fromEnvironment(service, given)
  const record = await readRecord(service.name)
  return record !== undefined && (await isUp(record)) ? record : undefined
}

async function fromEnvironment(service: Service, url: string): Promise<Running> {
  try {
    const version = await service.probe(url)
    return { how: 'environment', version, url, also: {}, processes: [] }
  } catch (cause) {
    throw new Unavailable(`${service.urlVariable} is set, but no ${service.title} answers there`, { cause })
  }
}

async function running(service: Service, progress: Progress): Promise<Running | undefined> {
  const record = await readRecord(service.name)
  if (record === undefined) return undefined
  if (await isUp(record)) {
    try {
      await answered(() => service.probe(record.url), {
        ...record,
        name: service.name,
        log: logOf(service),
        withinMs: 5_000,
      })
      return record
    } catch {
      progress('runs, but does not answer: starting it again…')
    }
  }
  await stopRecorded(service, record)
  return undefined
}

async function inContainer(service: Service, progress: Progress): Promise<Running | undefined> {
  if (service.container === undefined || (await engine()) === undefined) return undefined
  const spec = service.container(await choosePort(service, progress))
  progress(`starting a container of ${spec.image}…`)
  let container: string | undefined
  try {
    container = await startContainer(service.name, spec)
    const version = await answered(() => service.probe(spec.url), {
      name: service.name,
      processes: [],
      log: logOf(service),
    })
    const tag = spec.image.split(':')[1] ?? 'unknown'
    const { url, also = {} } = spec
    return { how: 'docker', version: version === 'unknown' ? tag : version, url, also, processes: [], container }
  } catch (error) {
    if (container !== undefined) await removeContainer(container)
    progress(`no container (${firstLine(error)}); trying a server on this machine…`)
    return undefined
  }
}

async function onThisMachine(service: Service, progress: Progress): Promise<Running> {
  const port = await choosePort(service, progress)
  await clear(service)
  await mkdir(folderOf(service.name), { recursive: true })
  const started = await service.start({ dir: folderOf(service.name), port, progress })
  return { how: 'local', also: {}, ...started }
}

async function stopRecorded(service: Service, record: Running): Promise<void> {
  if (record.container !== undefined) await removeContainer(record.container)
  await Promise.all(record.processes.map((id) => stop(id, service.stopSignal)))
}

/** Test servers hold nothing of worth: each start empties the folders that an earlier machine left. */
async function clear(service: Service): Promise<void> {
  const folder = folderOf(service.name)
  await rm(folder, { recursive: true, force: true })
  if (postgresHome(folder) !== folder) await rm(postgresHome(folder), { recursive: true, force: true })
}

/** The port that was asked for, else the usual one, else any that is free. */
async function choosePort(service: Service, progress: Progress): Promise<number> {
  const variable = `HOLDFAST_${service.name.toUpperCase()}_PORT`
  const asked = process.env[variable]
  const port = asked === undefined || asked === '' ? service.defaultPort : Number(asked)
  if (!Number.isInteger(port) || port < 1 || port + service.portCount > 65_536) {
    throw new Error(`${variable} must be a port number, got ${asked}`)
  }
  if (await areFree(port, service.portCount)) return port
  if (asked !== undefined && asked !== '') throw new Unavailable(`port ${port} is taken; set ${variable} to another`)
  const other = await freePorts(service.portCount)
  progress(`port ${port} is taken, using ${other}`)
  return other
}

function lockOf(service: Service): string {
  return join(servicesDir, `${service.name}.lock`)
}

function logOf(service: Service): string {
  return join(folderOf(service.name), 'log')
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}
