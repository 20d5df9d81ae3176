import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isContainerRunning } from './containers.ts'
import { servicesDir } from './paths.ts'
import { isAlive, type ProcessId } from './processes.ts'

/** What was started, so that a later command finds it and stops nothing else. */
export interface Running {
  readonly how: 'environment' | 'docker' | 'local'
  readonly version: string
  readonly url: string
  readonly also: Readonly<Record<string, string>>
  readonly processes: readonly ProcessId[]
  readonly container?: string
}

export function folderOf(name: string): string {
  return join(servicesDir, name)
}

export async function readRecord(name: string): Promise<Running | undefined> {
  try {
    const record: unknown = JSON.parse(await readFile(recordFile(name), 'utf8'))
    return isRunning(record) ? record : undefined
  } catch {
    return undefined
  }
}

export async function writeRecord(name: string, record: Running): Promise<void> {
  const file = recordFile(name)
  await mkdir(folderOf(name), { recursive: true })
  await writeFile(`${file}.part`, `${JSON.stringify(record, undefined, 2)}\n`)
  await rename(`${file}.part`, file)
}

export async function forget(name: string): Promise<void> {
  await rm(recordFile(name), { force: true })
}

/** Says whether what the record names is there; a record that came from another machine names nothing here. */
export async function isUp({ container, processes }: Running): Promise<boolean> {
  return container === undefined ? processes.length > 0 && processes.every(isAlive) : isContainerRunning(container)
}

function recordFile(name: string): string {
  return join(folderOf(name), 'service.json')
}

function isRunning(record: unknown): record is Running {
  return typeof record === 'object' && record !== null && 'url' in record && 'processes' in record && 'how' in record
}
