import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const projectDir = join(import.meta.dirname, '../..')

export const alertsFile = join(projectDir, 'prometheus/alerts.yml')
export const alertTestsFile = join(projectDir, 'prometheus/alerts.test.yml')
export const runbook = (): string => readFileSync(join(projectDir, 'docs/alerts.md'), 'utf8')
export const alerts = (): string => readFileSync(alertsFile, 'utf8')

export interface PanelQuery {
  readonly panel: string
  readonly query: string
}

/** Every query of the dashboard, as Grafana would send it with everything selected. */
export function panelQueries(): PanelQuery[] {
  const dashboard: unknown = JSON.parse(readFileSync(join(projectDir, 'grafana/holdfast.json'), 'utf8'))
  return listOf(dashboard, 'panels').flatMap((panel) =>
    listOf(panel, 'targets').map((target) => ({
      panel: textOf(panel, 'title'),
      query: textOf(target, 'expr').replaceAll('$__rate_interval', '30s').replaceAll('$pipeline', '.*'),
    })),
  )
}

/** The metrics that a query or a file of rules speaks of. */
export function metricNames(text: string): Set<string> {
  return new Set(
    text.match(/\b(holdfast|messaging)_[a-z_]+\b(?!=)/g)?.filter((name) => !name.startsWith('messaging_system')),
  )
}

function listOf(value: unknown, name: string): unknown[] {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
  return Array.isArray(found) ? found : []
}

function textOf(value: unknown, name: string): string {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
  if (typeof found !== 'string') throw new Error(`no ${name} in ${JSON.stringify(value)}`)
  return found
}
