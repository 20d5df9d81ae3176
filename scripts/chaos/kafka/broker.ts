import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startKafka } from '../../services/kafka.ts'
import { up } from '../../services/manager.ts'
import { servicesDir } from '../../services/paths.ts'
import { freePorts } from '../../services/ports.ts'
import { stop } from '../../services/processes.ts'
import { serviceNamed } from '../../services/table.ts'

export interface ChaosBroker {
  readonly brokers: readonly string[]
  restart(): Promise<void>
  dispose(): Promise<void>
}

const say = (line: string): void => console.error(line)

/** The server that everybody shares: it must not be restarted. */
export async function sharedBroker(): Promise<ChaosBroker> {
  const { url } = await up(serviceNamed('kafka'), say)
  return {
    brokers: url.split(','),
    restart: () => Promise.reject(new Error('the shared broker is not ours to restart')),
    dispose: () => Promise.resolve(),
  }
}

/** A server of this run's own, whose data outlives its restarts. */
export async function privateBroker(): Promise<ChaosBroker> {
  const dir = join(servicesDir, 'private', `chaos-kafka-${process.pid}`)
  await mkdir(dir, { recursive: true })
  const place = { dir, port: await freePorts(2), progress: say }
  const begin = async (): ReturnType<typeof startKafka> => {
    const now = await startKafka(place)
    // Where this process dies before it can, the next test run stops the server by this.
    await writeFile(join(dir, 'owner.json'), JSON.stringify({ owner: process.pid, processes: now.processes }))
    return now
  }
  let started = await begin()
  const halt = async (): Promise<void> => {
    await Promise.all(started.processes.map((process) => stop(process, 'SIGTERM')))
  }
  return {
    brokers: started.url.split(','),
    async restart() {
      await halt()
      started = await begin()
    },
    async dispose() {
      await halt()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
