import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inject } from 'vitest'
import { run } from '../../scripts/services/commands.ts'

export { projectDir } from '../../scripts/services/paths.ts'
export { run } from '../../scripts/services/commands.ts'

export const packed = inject('packed')

interface Target {
  readonly require: { readonly types: string; readonly default: string }
  readonly types: string
  readonly default: string
}

interface Manifest {
  readonly engines: { readonly node: string }
  readonly types: string
  readonly typesVersions: { readonly '*': Readonly<Record<string, readonly string[]>> }
  readonly exports: Readonly<Record<string, string | Target>>
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** The package.json of the packed package. */
export const manifest = JSON.parse(readFileSync(join(packed.installed, 'package.json'), 'utf8')) as Manifest

/** The entries that are modules, by their published names. */
export const entries = Object.entries(manifest.exports).flatMap(([path, target]) =>
  typeof target === 'string' ? [] : [{ name: path.replace(/^\./, 'holdfast'), ...target }],
)

/** Runs a module in the empty project and gives what it printed. */
export function runThere(code: string): Promise<string> {
  return run(process.execPath, ['--input-type=module', '--eval', code], { cwd: packed.project, timeoutMs: 60_000 })
}
