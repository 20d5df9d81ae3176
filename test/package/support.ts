import { existsSync, readFileSync } from 'node:fs'
import { link, mkdir, mkdtemp, readdir, symlink } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { inject } from 'vitest'
import { run } from '../../scripts/services/commands.ts'
import { projectDir } from '../../scripts/services/paths.ts'
import type { Packed } from './global-setup.ts'

export { projectDir } from '../../scripts/services/paths.ts'
export { run } from '../../scripts/services/commands.ts'

export const packed = await packedThere(inject('packed'))

/** It may be in the making still. */
async function packedThere(told: string): Promise<Packed> {
  for (let waited = 0; !existsSync(told); waited++) {
    if (waited === 3000) throw new Error('the package was not packed within five minutes')
    await sleep(100)
  }
  const result = JSON.parse(readFileSync(told, 'utf8')) as Packed | { readonly failed: string }
  if ('failed' in result) throw new Error(`there is no package to test: ${result.failed}`)
  return result
}

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

/** A project with the package as npm puts it, and some packages of ours beside it. */
export async function projectWith(...packages: readonly string[]): Promise<string> {
  const project = await mkdtemp(join(packed.project, 'with-'))
  const modules = join(project, 'node_modules')
  // Hard links: what a symbolic one leads to is not below node_modules for those who resolve links.
  for (const name of ['holdfast', 'cockatiel'])
    await linkAll(join(packed.project, 'node_modules', name), join(modules, name))
  for (const name of packages) {
    await mkdir(join(modules, name, '..'), { recursive: true })
    await symlink(join(projectDir, 'node_modules', name), join(modules, name))
  }
  return project
}

/** What one with every client of ours needs. */
export const clients = ['@types', ...Object.keys(manifest.peerDependencies ?? {})]

/** The folders first, each file as a hard link to the one that is there. */
async function linkAll(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  const found = await readdir(from, { recursive: true, withFileTypes: true })
  const placeOf = ({ parentPath, name }: (typeof found)[number]) => join(to, relative(from, parentPath), name)
  const files = found.filter((one) => !one.isDirectory())
  for (const one of found) if (one.isDirectory()) await mkdir(placeOf(one), { recursive: true })
  await Promise.all(files.map((one) => link(join(one.parentPath, one.name), placeOf(one))))
}
