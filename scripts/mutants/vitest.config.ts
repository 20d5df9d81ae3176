import { join } from 'node:path'
import { mergeConfig } from 'vitest/config'
import base from '../../vitest.config.ts'
import { adapters, type Mutant } from './mutants.ts'

/** As the tests of the project, with the bug that `HOLDFAST_MUTANT` names: `<adapter>/<contract>/<name>`. */
const [adapter = '', contract = '', name = ''] = (process.env['HOLDFAST_MUTANT'] ?? '').split('/')
const planted: Mutant | undefined =
  contract === 'transport' || contract === 'publisher' ? adapters[adapter]?.[contract][name] : undefined
if (planted === undefined) throw new Error(`HOLDFAST_MUTANT: there is no mutant ${adapter}/${contract}/${name}`)
const { file, changes } = planted

export default mergeConfig(base, {
  root: join(import.meta.dirname, '../..'),
  // What was made of a file is kept from run to run, by its content: a mutant would not be planted, or stay.
  test: { fsModuleCache: false },
  plugins: [
    {
      name: 'mutant',
      enforce: 'pre',
      transform(code: string, id: string): string | undefined {
        if (!id.endsWith(`/src/transports/${file}`)) return undefined
        let mutated = code
        for (const [from, to] of changes) {
          if (!mutated.includes(from)) throw new Error(`cannot plant ${name}: ${file} has changed`)
          mutated = mutated.replace(from, to)
        }
        return mutated
      },
    },
  ],
})
