import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { canInstall, install, onPath, run } from './commands.ts'
import { withLock } from './lock.ts'
import { servicesDir } from './paths.ts'
import { Unavailable, type Progress } from './service.ts'

const OLDEST_JAVA = 17

/** Jars that Maven Central has, by a pom that names them. */
export interface Jars {
  /** Of their folder. */
  readonly name: string
  /** For the progress line, such as `Kafka 4.3.1`. */
  readonly title: string
  readonly pom: string
}

export interface JavaPrograms {
  readonly java: string
  readonly classPath: string
}

/** Finds Java and a server's jars; fetches what is missing. */
export async function javaPrograms({ name, title, pom }: Jars, progress: Progress): Promise<JavaPrograms> {
  const hash = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 8)
  const jars = join(servicesDir, `${name}-jars-${hash}`)
  const java = await withLock(join(servicesDir, `${name}-jars.lock`), async () => {
    const found = await findJava(progress)
    if (!existsSync(jars)) await fetchJars({ jars, title, pom }, progress)
    return found
  })
  return { java, classPath: join(jars, '*') }
}

/** A version as a pom names it. */
export function versionIn(pom: string, property: string): string {
  return new RegExp(`<${property}>(.+?)<`).exec(readFileSync(pom, 'utf8'))?.[1] ?? 'unknown'
}

interface Fetch {
  readonly jars: string
  readonly title: string
  readonly pom: string
}

async function fetchJars({ jars, title, pom }: Fetch, progress: Progress): Promise<void> {
  if (onPath('mvn') === undefined && canInstall()) await install(['maven'], progress)
  if (onPath('mvn') === undefined) throw missing()
  progress(`fetching the jars of ${title} from Maven Central…`)
  const partial = `${jars}-${process.pid}`
  try {
    await run('mvn', [
      '-q',
      '-B',
      '-f',
      pom,
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
