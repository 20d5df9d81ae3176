import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bundledBytes, importTimer, rootCeilingBytes } from '../../scripts/measure/root-size.ts'
import { packed, runThere } from './support.ts'

it('keeps the own code of the root entry within 16.5 KB', async () => {
  const entry = join(packed.installed, 'dist/index.js')
  const own = await bundledBytes(entry, ['cockatiel'])
  const all = await bundledBytes(entry, [])
  const times: number[] = []
  while (times.length < 5) times.push(Number(await runThere(importTimer('holdfast'))))
  console.log(
    `root entry, minified and gzipped: ${own} bytes of ${rootCeilingBytes} of our own, ` +
      `${all - own} more with cockatiel; imported in ${median(times).toFixed(1)} ms`,
  )
  expect(own).toBeLessThanOrEqual(rootCeilingBytes)
  // A bundle that lost its modules would be small too.
  expect(own).toBeGreaterThan(1024)
})

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
