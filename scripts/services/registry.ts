import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { run } from './commands.ts'
import { javaPrograms, versionIn } from './java.ts'
import { answered, launch } from './processes.ts'
import type { Place, Started } from './service.ts'

const POM = join(import.meta.dirname, 'registry/pom.xml')

/** Apicurio Registry, which speaks as Confluent's registry does below its address. It keeps its schemas over a restart. */
export async function startRegistry({ dir, port, progress }: Place): Promise<Started> {
  const version = versionIn(POM, 'registry.version')
  const { java, classPath } = await javaPrograms(
    { name: 'registry', title: `Apicurio Registry ${version}`, pom: POM },
    progress,
  )
  const home = join(dir, 'home')
  if (!existsSync(home)) {
    await mkdir(home, { recursive: true })
    await run('tar', ['xzf', join(dirname(classPath), `apicurio-registry-app-${version}-all.tar.gz`), '-C', home])
  }
  const log = join(dir, 'log')
  const settings = [
    `-Dquarkus.http.port=${port}`,
    '-Dquarkus.http.host=127.0.0.1',
    `-Dquarkus.datasource.jdbc.url=jdbc:h2:file:${join(dir, 'data')}`,
  ]
  const jar = join(home, `apicurio-registry-app-${version}-runner.jar`)
  const process = await launch(java, ['-Xmx256m', '-XX:TieredStopAtLevel=1', ...settings, '-jar', jar], { log })
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`
  const ask = async () => {
    const response = await fetch(`${url}/subjects`, { signal: AbortSignal.timeout(5_000) })
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
  }
  await answered(ask, { name: 'registry', processes: [process], log })
  return { url, version, processes: [process] }
}
