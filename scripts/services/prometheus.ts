import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { canInstall, install, onPath } from './commands.ts'
import { answered, launch } from './processes.ts'
import { Unavailable, type Place, type Progress, type Started } from './service.ts'

export interface PrometheusOptions extends Place {
  /** What it scrapes, as `host:port`. */
  readonly targets: readonly string[]
  /** A file of alerting rules. */
  readonly rules: string
}

/** A Prometheus that scrapes and judges every second. */
export async function startPrometheus({ dir, port, progress, targets, rules }: PrometheusOptions): Promise<Started> {
  const program = await prometheusProgram('prometheus', progress)
  const log = join(dir, 'log')
  const config = join(dir, 'prometheus.json')
  await mkdir(dir, { recursive: true })
  // JSON is YAML.
  await writeFile(config, JSON.stringify(configuration(targets, rules)))
  const flags = [`--config.file=${config}`, `--storage.tsdb.path=${join(dir, 'data')}`]
  const process = await launch(program, [...flags, `--web.listen-address=127.0.0.1:${port}`], { log })
  const url = `http://127.0.0.1:${port}`
  const version = await answered(() => prometheusVersion(url), { name: 'prometheus', processes: [process], log })
  return { url, version, processes: [process] }
}

/** `prometheus`, or `promtool`, which checks rules. */
export async function prometheusProgram(name: 'prometheus' | 'promtool', progress: Progress): Promise<string> {
  const found = onPath(name)
  if (found !== undefined) return found
  if (canInstall()) await install(['prometheus'], progress)
  const installed = onPath(name)
  if (installed === undefined) throw new Unavailable('install Prometheus (Debian: apt-get install prometheus)')
  return installed
}

async function prometheusVersion(url: string): Promise<string> {
  const response = await fetch(new URL('/api/v1/status/buildinfo', url), { signal: AbortSignal.timeout(5_000) })
  const answer: unknown = await response.json()
  return /"version":"([^"]+)"/.exec(JSON.stringify(answer))?.[1] ?? 'unknown'
}

function configuration(targets: readonly string[], rules: string) {
  return {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: [{ job_name: 'holdfast', static_configs: [{ targets }] }],
  }
}
