import { join } from 'node:path'
import { bundledBytes, importTimer, rootCeilingBytes } from '../../scripts/measure/root-size.ts'
import { run } from '../../scripts/services/commands.ts'
import { projectDir } from '../../scripts/services/paths.ts'
import { limitRow, quantile, type Row } from '../measure.ts'

const mostMs = 15

/** What `import 'holdfast'` costs a service that starts, beside cockatiel, which it brings along. */
export async function* importArea(rounds: number): AsyncIterable<Row> {
  const own = await bundledBytes(join(projectDir, 'dist/index.js'), ['cockatiel'])
  const of = { area: 'import', beside: 'cockatiel alone' }
  yield limitRow({ ...of, name: 'own code, minified and gzipped', values: [own], most: rootCeilingBytes, unit: 'B' })

  const over: number[] = []
  const ours: number[] = []
  // Short, and by chance longer: more of them than of other figures.
  for (let round = 0; round < rounds * 3; round++) {
    const cockatiel = await importMs('cockatiel')
    const holdfast = await importMs('holdfast')
    ours.push(holdfast)
    over.push(holdfast - cockatiel)
  }
  const row = limitRow({ ...of, name: 'import, longer by', values: over, most: mostMs, unit: 'ms' })
  yield { ...row, detail: `${row.detail} of ${quantile(ours, 0.5).toFixed(1)} ms` }
}

/** In a process of its own, without that process's start. */
async function importMs(specifier: string): Promise<number> {
  const code = importTimer(specifier)
  return Number(await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: projectDir }))
}
