import { join } from 'node:path'
import { javaPrograms, versionIn, type JavaPrograms } from './java.ts'
import { launch, type ProcessId } from './processes.ts'
import type { Progress } from './service.ts'

const POM = join(import.meta.dirname, 'pulsar/pom.xml')
const OPENED = [
  ...['sun.net', 'java.lang', 'java.nio', 'jdk.internal.misc', 'jdk.internal.platform', 'sun.nio.ch', 'java.util.zip'],
].map((name) => `java.base/${name}`)

/** The version of the jars. */
export const pulsarJarsVersion: string = versionIn(POM, 'pulsar.version')

/** Java, and the jars of a broker with its storage. */
export function pulsarPrograms(progress: Progress): Promise<JavaPrograms> {
  return javaPrograms({ name: 'pulsar', title: `Pulsar ${pulsarJarsVersion} (232 MB)`, pom: POM }, progress)
}

export interface PulsarProgram extends JavaPrograms {
  /** The class to start, with what it is told. */
  readonly main: string
  readonly flags: readonly string[]
  /** Most memory in MB: of the heap, and beside it. */
  readonly heapMb: number
  readonly directMb: number
  readonly dir: string
  readonly log: string
  readonly env?: NodeJS.ProcessEnv
}

/** Starts one process of Pulsar. */
export function launchPulsar(program: PulsarProgram): Promise<ProcessId> {
  const { java, classPath, main, flags, heapMb, directMb, dir, log, env = {} } = program
  const opens = [...OPENED, 'java.management/sun.management'].flatMap((name) => ['--add-opens', `${name}=ALL-UNNAMED`])
  const heap = [`-Xms${Math.min(256, heapMb)}m`, `-Xmx${heapMb}m`, `-XX:MaxDirectMemorySize=${directMb}m`]
  const logging = `-Dlog4j2.configurationFile=${join(import.meta.dirname, 'pulsar/log4j2.yaml')}`
  const args = [...heap, '-XX:TieredStopAtLevel=1', ...opens, logging, '-cp', classPath, main, ...flags]
  return launch(java, args, { log, cwd: dir, env: { ...process.env, ...env } })
}
