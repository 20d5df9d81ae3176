import { expect, it } from 'vitest'
import { ResilienceError } from 'holdfast/testing'
import { tryNaive, tryWrapped } from '../../examples/chaos-duplicate-delivery/chaos.ts'
import { runExample } from './run.ts'

it('chaos-duplicate-delivery: the naive handler charges twice, and the line makes it happen again', async () => {
  const error: unknown = await tryNaive().catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(ResilienceError)
  const { replay } = error as ResilienceError
  expect(replay).toBe('m1 c1 p1; duplicate send m1 0ms')
  await expect(tryNaive({ replay })).rejects.toThrow('chargeCustomer: once\n  m1 took effect twice: charge')
})

it('chaos-duplicate-delivery: the wrapped handler withstands the same', async () => {
  await expect(tryWrapped({ replay: 'm1 c1 p1; duplicate send m1 0ms' })).resolves.toMatchObject({ schedules: 1 })
  await expect(tryWrapped()).resolves.toMatchObject({ schedules: 1_001 })
})

it('chaos-duplicate-delivery: prints both', { timeout: 60_000 }, async () => {
  const { code, stdout, stderr } = await runExample('examples/chaos-duplicate-delivery/main.ts')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toContain("  replay: 'm1 c1 p1; duplicate send m1 0ms'")
  expect(stdout).toContain('1001 schedules, and no order was charged twice or not at all')
})
