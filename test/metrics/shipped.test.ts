import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { processMetrics } from 'holdfast/metrics'
import { alerts, metricNames, panelQueries, runbook } from './shipped.ts'

/** What a registry prints, histograms with their parts. */
function printed(): Set<string> {
  const registry = new Registry()
  processMetrics({ registry })
  return new Set(
    registry
      .getMetricsAsArray()
      .flatMap(({ name }) => [name, ...['bucket', 'sum', 'count'].map((end) => `${name}_${end}`)]),
  )
}

describe('what is shipped for Prometheus and Grafana', () => {
  it('speaks only of metrics that there are', () => {
    const known = printed()
    const used = [...metricNames(alerts()), ...panelQueries().flatMap(({ query }) => [...metricNames(query)])]
    expect(used.length).toBeGreaterThan(30)
    expect(used.filter((name) => !known.has(name))).toEqual([])
  })

  it('shows every metric on the dashboard', () => {
    const shown = new Set(panelQueries().flatMap(({ query }) => [...metricNames(query)]))
    const registry = new Registry()
    processMetrics({ registry })
    const hidden = registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .filter((name) => !shown.has(name) && !shown.has(`${name}_bucket`))
    // Said by the other panels in another way.
    expect(hidden).toEqual(['holdfast_circuit_changes_total', 'holdfast_outbox_refusals_total'])
  })

  it('has a page to turn to for every alert, and an alert for every page', () => {
    const named = [...alerts().matchAll(/- alert: (\w+)/g)].map(([, name]) => name ?? '')
    const linked = [...alerts().matchAll(/runbook: docs\/alerts\.md#(\w+)/g)].map(([, anchor]) => anchor)
    const headed = [...runbook().matchAll(/^## (Holdfast\w+)$/gm)].map(([, name]) => name)
    expect(linked).toEqual(named.map((name) => name.toLowerCase()))
    expect(headed).toEqual(named)
  })
})
