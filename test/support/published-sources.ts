import { join } from 'node:path'
import manifest from '../../package.json' with { type: 'json' }

const root = join(import.meta.dirname, '../..')

/** The source file of each entry in `exports`, by its published name. */
export const publishedSources: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(manifest.exports).flatMap(([path, target]) =>
    typeof target === 'string' ? [] : [[path.replace('.', manifest.name), sourceOf(target.default)]],
  ),
)

function sourceOf(built: string): string {
  return join(root, built.replace('./dist/', 'src/').replace(/\.js$/, '.ts'))
}
