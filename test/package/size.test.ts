import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'
import { expect, it } from 'vitest'
import { packed, projectDir, runThere } from './support.ts'

const CEILING_BYTES = 12 * 1024

it('keeps the own code of the root entry within 12 KB', async () => {
  const own = await bundled(['cockatiel'])
  const all = await bundled([])
  const times: number[] = []
  while (times.length < 5) times.push(await importMs())
  console.log(
    `root entry, minified and gzipped: ${own} bytes of ${CEILING_BYTES} of our own, ` +
      `${all - own} more with cockatiel; imported in ${median(times).toFixed(1)} ms`,
  )
  expect(own).toBeLessThanOrEqual(CEILING_BYTES)
  // A bundle that lost its modules would be small too.
  expect(own).toBeGreaterThan(1024)
})

async function bundled(external: readonly string[]): Promise<number> {
  const build = await rolldown({
    input: join(packed.installed, 'dist/index.js'),
    external: [/^node:/, ...external],
    resolve: { modules: [join(projectDir, 'node_modules')] },
    logLevel: 'silent',
  })
  const { output } = await build.generate({ format: 'esm', minify: true, codeSplitting: false })
  await build.close()
  return gzipSync(output[0].code, { level: 9 }).length
}

async function importMs(): Promise<number> {
  const code = `const start = performance.now(); await import('holdfast'); console.log(performance.now() - start)`
  return Number(await runThere(code))
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
