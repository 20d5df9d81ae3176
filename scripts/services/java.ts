import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { canInstall, install, onPath, run } from './commands.ts'
import { withLock } from './lock.ts'
import { servicesDir } from './paths.ts'
import { Unavailable, type Progress } from './service.ts'

const POM = join(import.meta.dirname, 'kafka/pom.xml')

const OLDEST_JAVA = 17

export interface KafkaPrograms {
  readonly java: string
  readonly keytool: string
  readonly classPath: string
}

/** Kafka's version, as the list of jars names it. */
export function kafkaVersion(): string {
  return /<kafka\.version>(.+?)</.exec(readFileSync(POM, 'utf8'))?.[1] ?? 'unknown'
}

/** Finds Java and Kafka's jars; fetches what is missing. */
export async function kafkaPrograms(progress: Progress): Promise<KafkaPrograms> {
  const jars = join(
    servicesDir,
    `kafka-jars-${createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 8)}`,
  )
  const fetching = withLock(join(servicesDir, 'kafka-jars.lock'), async () => {
    const java = await findJava(progress)
    if (!existsSync(jars)) await fetchJars(jars, progress)
    return java
  })
  const java = await fetching
  return { java, keytool: join(dirname(java), 'keytool'), classPath: join(jars, '*') }
}

async function fetchJars(jars: string, progress: Progress): Promise<void> {
  if (onPath('mvn') === undefined && canInstall()) await install(['maven'], progress)
  if (onPath('mvn') === undefined) throw missing()
  progress(`fetching the jars of Kafka ${kafkaVersion()} from Maven Central…`)
  const partial = `${jars}-${process.pid}`
  try {
    await run('mvn', [
      '-q',
      '-B',
      '-f',
      POM,
      'dependency:copy-dependencies',
      '-DincludeScope=runtime',
      `-DoutputDirectory=${partial}`,
    ])
    await rename(partial, jars)
  } catch (cause) {
    throw new Unavailable('the jars could not be fetched from Maven Central', { cause })
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

async function findJava(progress: Progress): Promise<string> {
  const found = await installedJava()
  if (found !== undefined) return found
  if (canInstall()) {
    await install(['default-jre-headless'], progress)
    // A new Java knows the authorities of Debian, not those that this machine's owner added.
    await run('update-ca-certificates', []).catch(() => {})
  }
  const installed = await installedJava()
  if (installed === undefined) throw missing()
  return installed
}

async function installedJava(): Promise<string | undefined> {
  const { JAVA_HOME } = process.env
  for (const java of [JAVA_HOME && join(JAVA_HOME, 'bin/java'), onPath('java')]) {
    if (!java || !existsSync(java)) continue
    const version = await run(java, ['--version']).catch(() => '')
    if (Number(/\d+/.exec(version)?.[0] ?? 0) >= OLDEST_JAVA) return java
  }
  return undefined
}

function missing(): Unavailable {
  return new Unavailable(
    `install Java ${OLDEST_JAVA} or newer and Maven (Debian: apt-get install default-jre-headless maven)`,
  )
}
