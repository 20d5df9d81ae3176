import { readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import manifest from '../package.json' with { type: 'json' }

const dist = join(import.meta.dirname, '../dist')

/**
 * The declarations of an ES module as those of a CommonJS module. Node loads our modules with `require()`, but
 * TypeScript's `node16` and `node18` settings refuse that unless the declarations say CommonJS.
 */
function commonjsTypes(declarations: string): string {
  return (
    declarations
      .replaceAll(/((?:from|import\()\s*')(\.{1,2}\/[^']+)\.ts'/g, "$1$2.cjs'")
      // A package may be ESM alone. Declarations import types only, so asking for its ESM types is always allowed.
      .replaceAll(
        /^import (?:type )?(\{[^}]*\}|\w+|\* as \w+) from '([^.'][^']*)';$/gm,
        (_, names: string, from: string) =>
          `import type ${names.replaceAll(/\btype /g, '')} from '${from}' with { 'resolution-mode': 'import' };`,
      )
      .replace(/^\/\/# sourceMappingURL=.*$/m, '')
  )
}

/** Writes a `.d.cts` for each declaration of the build, and for each entry a `.cjs` that hands on its one ES module. */
async function writeCommonjs(): Promise<void> {
  const names = (await readdir(dist, { recursive: true })).filter((name) => name.endsWith('.d.ts'))
  await Promise.all(
    names.map(async (name) => {
      const text = commonjsTypes(await readFile(join(dist, name), 'utf8'))
      await writeFile(join(dist, name.replace(/\.d\.ts$/, '.d.cts')), text)
    }),
  )
  const entries = Object.values(manifest.exports).flatMap((target) => (typeof target === 'string' ? [] : [target]))
  await Promise.all(
    entries.map(({ default: built }) => {
      const wrapper = join(dist, '..', built.replace(/\.js$/, '.cjs'))
      return writeFile(wrapper, `'use strict'\nmodule.exports = require('./${basename(built)}')\n`)
    }),
  )
}

await writeCommonjs()
