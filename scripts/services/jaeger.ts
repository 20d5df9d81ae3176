import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onPath, run } from './commands.ts'
import { withLock } from './lock.ts'
import { servicesDir } from './paths.ts'
import { answered, launch } from './processes.ts'
import { Unavailable, type Place, type Progress, type Service, type Started } from './service.ts'

const MODULE = 'github.com/jaegertracing/jaeger'

/** Jaeger 2.13: Go can fetch its module by the version number of the first line only. */
const MODULE_VERSION = 'v1.76.0'
const VERSION = '2.13.0'

export const jaeger: Service = {
  name: 'jaeger',
  title: 'Jaeger',
  urlVariable: 'HOLDFAST_JAEGER_URL',
  defaultPort: 26686,
  portCount: 4,
  container: (port) => ({
    image: `jaegertracing/jaeger:${VERSION}`,
    ports: [
      { container: 16686, host: port },
      { container: 4318, host: port + 2 },
      { container: 4317, host: port + 3 },
    ],
    url: `http://127.0.0.1:${port}`,
    also: { otlp: `http://127.0.0.1:${port + 2}` },
  }),
  start: startJaeger,
  probe: jaegerAnswers,
  stopSignal: 'SIGTERM',
}

/** Takes four ports in a row: queries by HTTP and gRPC, then OTLP by HTTP and gRPC. */
export async function startJaeger({ dir, port, progress }: Place): Promise<Started> {
  const program = await built(progress)
  const log = join(dir, 'log')
  const config = join(dir, 'config.yaml')
  await mkdir(dir, { recursive: true })
  await writeFile(config, configuration(port))
  const process = await launch(program, ['--config', config], { log })
  const url = `http://127.0.0.1:${port}`
  await answered(() => jaegerAnswers(url), { name: 'jaeger', processes: [process], log })
  return { url, version: VERSION, processes: [process], also: { otlp: `http://127.0.0.1:${port + 2}` } }
}

async function jaegerAnswers(url: string): Promise<string> {
  const response = await fetch(new URL('/api/services', url), { signal: AbortSignal.timeout(5_000) })
  if (!response.ok) throw new Error(`Jaeger answered with status ${response.status}`)
  return 'unknown'
}

function built(progress: Progress): Promise<string> {
  const folder = join(servicesDir, `jaeger-${VERSION}`)
  const program = join(folder, 'jaeger')
  return withLock(
    join(servicesDir, 'jaeger-build.lock'),
    async () => {
      if (!existsSync(program)) await build(folder, progress)
      return program
    },
    () => progress('waiting for another build…'),
  )
}

/**
 * `go install` refuses a module that has `replace` lines of its own, as Jaeger's has.
 * A module here with the same lines and the same sums builds it, and Go checks every dependency against those sums.
 */
async function build(folder: string, progress: Progress): Promise<void> {
  if (onPath('go') === undefined)
    throw new Unavailable('install Go 1.25 or newer, or set HOLDFAST_JAEGER_URL to a running Jaeger')
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  const env = { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' }
  const go = (...args: readonly string[]) =>
    run('go', args, { cwd: folder, env, timeoutMs: 1_800_000 }).catch((cause: unknown) => {
      throw new Unavailable('Go could not build it; set HOLDFAST_JAEGER_URL to a running Jaeger', { cause })
    })
  progress(`fetching the source of Jaeger ${VERSION}…`)
  const source = directoryOf(await go('mod', 'download', '-json', `${MODULE}@${MODULE_VERSION}`))
  const module = await readFile(join(source, 'go.mod'), 'utf8')
  await writeFile(join(folder, 'go.mod'), module.replace(/^module .*$/m, 'module holdfast/jaeger-for-tests'))
  await copyFile(join(source, 'go.sum'), join(folder, 'go.sum'))
  await go('mod', 'edit', `-require=${MODULE}@${MODULE_VERSION}`)
  progress('building Jaeger with Go, which takes some minutes…')
  await go('build', '-trimpath', '-ldflags=-s -w', '-o', 'jaeger.part', `${MODULE}/cmd/jaeger`)
  await rename(join(folder, 'jaeger.part'), join(folder, 'jaeger'))
}

function directoryOf(downloaded: string): string {
  const found: unknown = JSON.parse(downloaded)
  if (typeof found === 'object' && found !== null && 'Dir' in found && typeof found.Dir === 'string') return found.Dir
  throw new Error(`go mod download did not say where it put ${MODULE}`)
}

function configuration(port: number): string {
  return `service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics:
      level: none
    logs:
      level: warn
extensions:
  jaeger_query:
    storage:
      traces: memory
    http:
      endpoint: 127.0.0.1:${port}
    grpc:
      endpoint: 127.0.0.1:${port + 1}
  jaeger_storage:
    backends:
      memory:
        memory:
          max_traces: 100000
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:${port + 2}
      grpc:
        endpoint: 127.0.0.1:${port + 3}
exporters:
  jaeger_storage_exporter:
    trace_storage: memory
`
}
