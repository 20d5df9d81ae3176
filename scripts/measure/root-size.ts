import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'
import { projectDir } from '../services/paths.ts'

/** What the root entry may add to a service, beside cockatiel. */
export const rootCeilingBytes = 16.5 * 1024

/** The size of an entry with all that it reaches but `external`, minified and gzipped. */
export async function bundledBytes(entry: string, external: readonly string[]): Promise<number> {
  const build = await rolldown({
    input: entry,
    external: [/^node:/, ...external],
    resolve: { modules: [join(projectDir, 'node_modules')] },
    logLevel: 'silent',
  })
  const { output } = await build.generate({ format: 'esm', minify: true, codeSplitting: false })
  await build.close()
  return gzipSync(output[0].code, { level: 9 }).length
}

/** A module that prints how long the import of another took, for a process of its own: nothing is cached there. */
export function importTimer(specifier: string): string {
  return `const start = performance.now(); await import('${specifier}'); console.log(performance.now() - start)`
}
