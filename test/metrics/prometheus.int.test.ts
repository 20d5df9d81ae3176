import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { pipeline, retry, RetryLater, type Delivery } from 'holdfast'
import { bulkhead, circuitBreaker, retryBudget } from 'holdfast/policies'
import { metrics, processMetrics } from 'holdfast/metrics'
import { prometheusProgram } from '../../scripts/services/prometheus.ts'
import { Unavailable } from '../../scripts/services/service.ts'
import { privatePrometheus, type PrivateServer } from '../support/private-servers.ts'
import { describeUnless } from '../support/skipped.ts'
import { alerts, alertsFile, alertTestsFile, panelQueries } from './shipped.ts'
import { tellOfEverything } from './support.ts'

const execute = promisify(execFile)
const promtool = await prometheusProgram('promtool', console.error).catch(unlessUnavailable)
const reason = promtool === undefined ? 'Prometheus cannot be had here' : undefined

function unlessUnavailable(error: unknown): undefined {
  if (!(error instanceof Unavailable) || process.env['CI'] === 'true') throw error
  console.warn(`${error.message}. The tests that need it are skipped.`)
}

describeUnless(reason, 'with promtool', () => {
  const tool = promtool ?? ''

  it('the alerts are good rules, silent in a quiet hour and all firing in a bad one', async () => {
    const { stdout } = await execute(tool, ['check', 'rules', '--lint-fatal', alertsFile])
    expect(stdout).toContain('SUCCESS')
    expect((await execute(tool, ['test', 'rules', alertTestsFile])).stdout).toContain('SUCCESS')
  })

  it('the test of the alerts fails for an alert that never fires', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-alerts-'))
    await writeFile(
      join(folder, 'alerts.yml'),
      alerts().replace('holdfast_leases_lost_total[10m])) > 0', 'x[10m])) > 0'),
    )
    await writeFile(join(folder, 'alerts.test.yml'), await readFile(alertTestsFile))
    await expect(execute(tool, ['test', 'rules', join(folder, 'alerts.test.yml')])).rejects.toThrow('FAILED')
    await rm(folder, { recursive: true })
  })

  it('what the registry prints is what Prometheus expects', async () => {
    const { registry } = await busyService()
    const checked = execute(tool, ['check', 'metrics'])
    checked.child.stdin?.end(await registry.metrics())
    expect(await checked).toEqual({ stdout: '', stderr: '' })
  })
})

describeUnless(reason, 'with a real Prometheus', () => {
  let prometheus: PrivateServer
  let close: () => void
  let service: Awaited<ReturnType<typeof busyService>>

  beforeAll(async () => {
    service = await busyService()
    const page = createServer((_, response) => {
      void service.registry.metrics().then((text) => {
        response.setHeader('content-type', service.registry.contentType).end(text)
      })
    })
    await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
    close = () => page.close()
    const { port } = page.address() as AddressInfo
    prometheus = await privatePrometheus({ targets: [`127.0.0.1:${port}`], rules: alertsFile })
    // A rate needs samples before and after something happened.
    await until(async () => (await query('count_over_time(holdfast_in_flight[1m])'))[0]?.value[1] === '2')
    await service.act()
    await until(async () => Number((await query('max(increase(holdfast_retries_total[30s]))'))[0]?.value[1] ?? 0) > 0)
  })

  afterAll(async () => {
    close()
    await prometheus.dispose()
  })

  async function ask(path: string): Promise<unknown> {
    const response = await fetch(new URL(path, prometheus.url))
    const answer = (await response.json()) as {
      readonly status: string
      readonly data: unknown
      readonly error?: string
    }
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`)
    return answer.data
  }

  async function query(text: string) {
    const data = await ask(`/api/v1/query?query=${encodeURIComponent(text)}`)
    return (data as { readonly result: readonly { readonly value: readonly [number, string] }[] }).result
  }

  it.each(panelQueries())('the panel "$panel" shows something: $query', async ({ query: text }) => {
    const result = await query(text)
    expect(result.length).toBeGreaterThan(0)
    expect(result.filter(({ value }) => Number.isNaN(Number(value[1])))).toEqual([])
  })

  it('every alert can be judged, and those whose time has come fire', async () => {
    interface Rule {
      readonly name: string
      readonly health: string
      readonly state: string
    }
    const rules = async () =>
      (
        (await ask('/api/v1/rules')) as { readonly groups: readonly { readonly rules: readonly Rule[] }[] }
      ).groups.flatMap((group) => group.rules)
    await until(async () => (await rules()).every(({ health }) => health === 'ok'))
    const state = async (name: string) => (await rules()).find((rule) => rule.name === name)?.state
    await until(async () => (await state('HoldfastDeadLettersRising')) === 'firing')
    await until(async () => (await state('HoldfastCircuitOpen')) === 'pending')
    expect(await state('HoldfastOutboxStuck')).toBe('inactive')
  })
})

/** A service in which everything that is measured happens once at `act()`. */
async function busyService() {
  const registry = new Registry()
  const payments = circuitBreaker({ name: 'payments', openAfter: 1 })
  const budget = retryBudget({ name: 'payments' })
  let delivery: Delivery | undefined
  const billing = pipeline('billing')
    .use(metrics({ registry }))
    .use(retry({ maxAttempts: 3, backoff: () => 1, budget }))
    .handle(async (given) => {
      delivery = given
      if (given.message.id === 'waits') throw new RetryLater(10)
      if (given.message.id === 'retried' && given.attempt === 1) throw new Error('once')
    })
  const dispatch = (id: string) => billing.dispatch({ message: { id, body: null } }).catch(() => {})
  const consumer = { health: () => ({ name: 'c', live: true, ready: true, details: { inFlight: 0, held: 0 } }) }
  const tenants = bulkhead({ maxConcurrent: 1 })
  processMetrics({ registry, parts: { consumer, payments, tenants }, budgets: [budget] })
  await dispatch('first')
  tellOfEverything(delivery)
  return {
    registry,
    async act() {
      for (const id of ['one', 'retried', 'waits']) await dispatch(id)
      await payments.run(() => Promise.reject(Object.assign(new Error('down'), { status: 503 }))).catch(() => {})
      tellOfEverything(delivery)
    },
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) return
    await sleep(100)
  }
  throw new Error('did not come true within 20 s')
}
