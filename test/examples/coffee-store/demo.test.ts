import { expect, it } from 'vitest'
import type { Audit } from '../../../examples/coffee-store/audit.ts'
import { planFor, serviceNames } from '../../../examples/coffee-store/plan.ts'
import { runExample } from '../run.ts'

const demo = 'examples/coffee-store/main.ts'

interface Figures extends Audit {
  readonly plan: string
  readonly circuitOpened: number
}

it('passes its audit although everything goes wrong that was planned', { timeout: 120_000 }, async () => {
  const { code, stdout, stderr } = await runExample(demo, ['--json', '--messages', '300', '--seed', '7'])
  const figures = JSON.parse(stdout) as Figures
  expect(stderr).toBe('')
  expect(figures.invariants.filter(({ ok }) => !ok)).toEqual([])
  expect(code).toBe(0)

  const plan = planFor({ seed: 7, messages: 300 })
  const failures = serviceNames.flatMap((service) => [...plan.transient[service].values()])
  expect(figures).toMatchObject({
    ok: true,
    plan: plan.fingerprint,
    orders: { placed: 300, sentAgain: 45, poison: 3, published: 345 },
    deadLetters: 12,
    effects: { expected: 1188, happened: 1188, lost: 0, doubled: 0, unexpected: 0 },
    outOfOrder: 0,
    faults: { transient: failures.reduce((sum, each) => sum + each, 0), kills: 1, outages: 1 },
  })
  expect(figures.duplicatesSuppressed).toBeGreaterThanOrEqual(42 * 4)
  expect(figures.retries).toBeGreaterThanOrEqual(figures.faults.transient)
  expect(figures.deliveries).toBeGreaterThan(345 * 4)
  expect(figures.circuitOpened).toBeGreaterThan(0)
})

it('--naive: the same handlers without holdfast fail the audit', { timeout: 120_000 }, async () => {
  const { code, stdout } = await runExample(demo, ['--json', '--messages', '150', '--seed', '7', '--naive'])
  const figures = JSON.parse(stdout) as Figures
  expect(code).toBe(1)
  expect(figures.ok).toBe(false)
  expect(figures.effects.doubled).toBeGreaterThan(0)
  expect(figures.effects.lost).toBeGreaterThan(0)
  expect(figures.outOfOrder).toBeGreaterThan(0)
  expect(figures.money.twiceCents).toBeGreaterThan(0)
  expect(figures.deadLetters).toBe(0)
})

it('prints plain lines where there is no terminal', { timeout: 120_000 }, async () => {
  const { code, stdout } = await runExample(demo, ['--messages', '100'])
  expect(code).toBe(0)
  expect(stdout).not.toContain('\x1b')
  expect(stdout).toMatch(/^The coffee store with holdfast · in memory · seed 42\n/)
  expect(stdout).toMatch(/^ {2}effects {16} +396 {3}396 expected$/m)
  expect(stdout).toMatch(/✓ nothing is lost {2}0 of 396 effects missing\n/)
  expect(stdout).toMatch(/All of it holds\.\n\n$/)
})

it('answers a wrong option with one line, and --help with the options', { timeout: 60_000 }, async () => {
  expect(await runExample(demo, ['--sed', '7'])).toEqual({
    code: 2,
    stdout: '',
    stderr: 'coffee-store: there is no option --sed (--help shows the options)\n',
  })
  const { code, stdout } = await runExample(demo, ['--help'])
  expect(code).toBe(0)
  const brokers = ['kafka', 'platformatic-kafka', 'rabbitmq', 'nats', 'artemis', 'pulsar']
  for (const option of ['messages', 'seed', 'naive', 'json', ...brokers, 'redis', 'postgres'])
    expect(stdout).toContain(`--${option}`)
})
