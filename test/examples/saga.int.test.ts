import { expect, it } from 'vitest'
import { describeWith, postgresUrl } from '../support/services.ts'
import { runExample } from './run.ts'

const file = 'examples/saga/main.ts'

describeWith(['postgres'], 'saga', () => {
  const env = () => ({ HOLDFAST_POSTGRES_URL: postgresUrl() })

  it('does each order or undoes it, although cards are refused and news comes late', { timeout: 120_000 }, async () => {
    const ended = await runExample(file, [], env())
    expect(ended.stderr).toBe('')
    const [done, calledOff] =
      /100: (\d+) done, (\d+) called off, 0 stuck/.exec(ended.stdout)?.slice(1).map(Number) ?? []
    // On a slow machine more of them reach their deadline.
    expect(done).toBeGreaterThan(0)
    expect(calledOff).toBeGreaterThanOrEqual(30)
    expect(ended.stdout).toMatch(/undone +[1-9]\d* bags returned, [1-9]\d* charges refunded/)
    expect(ended.stdout).toMatch(/repeats +[1-9]\d* suppressed/)
    expect(ended.stdout).toContain(`
  stock       0 sagas with a bag too many or too few, the shelf is 0 off
  money       0 customers charged wrongly
  dead        0
kept: each order is done and paid, or called off and undone
`)
    expect(ended.code).toBe(0)
  })

  it('its audit fails without the guard of the states', { timeout: 120_000 }, async () => {
    const { code, stdout } = await runExample(file, ['--without', 'guard'], env())
    expect(stdout).toMatch(/stock +[1-9]\d* sagas/)
    expect(stdout).toContain('BROKEN: see above\n')
    expect(code).toBe(1)
  })

  it('its audit fails without the claims', { timeout: 120_000 }, async () => {
    const { code, stdout } = await runExample(file, ['--without', 'claims'], env())
    expect(stdout).toMatch(/money +[1-9]\d* customers/)
    expect(stdout).toContain('BROKEN: see above\n')
    expect(code).toBe(1)
  })
})
