import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { run } from '../../scripts/services/commands.ts'
import { projectDir } from '../../scripts/services/paths.ts'

/** The package as it would be published, and what to check it with. */
export interface Packed {
  readonly tarball: string
  /** An empty project with the package in its `node_modules`, and cockatiel beside it, as npm would put them. */
  readonly project: string
  /** The package inside that project. */
  readonly installed: string
}

declare module 'vitest' {
  interface ProvidedContext {
    /** The file that says where it is, or why there is none: it appears once that is known. */
    packed: string
  }
}

/** Builds and packs a copy of the project, so that the checkout's own `dist` is left alone, while other tests run. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-package-'))
  const told = join(folder, 'packed.json')
  project.provide('packed', told)
  const packing = packInto(folder)
    .catch((error: unknown) => ({ failed: String(error) }))
    .then(async (result) => {
      // Renamed, so that nobody reads half of it.
      await writeFile(`${told}-`, JSON.stringify(result))
      await rename(`${told}-`, told)
    })
  return async () => {
    await packing
    await rm(folder, { recursive: true, force: true })
  }
}

async function packInto(folder: string): Promise<Packed> {
  const [packed] = await Promise.all([packCopy(folder), installOldestTypescript()])
  return packed
}

async function installOldestTypescript(): Promise<void> {
  const oldest = join(import.meta.dirname, 'typescript-5.9')
  if (!existsSync(join(oldest, 'node_modules/typescript'))) await run('npm', ['ci', '--no-audit'], { cwd: oldest })
}

async function packCopy(folder: string): Promise<Packed> {
  const copy = join(folder, 'copy')
  await mkdir(copy)
  const names = await readdir(projectDir)
  const folders = /^(src|docs|grafana|prometheus|examples|bin)$/
  const files = names.filter((name) => folders.test(name) || /\.(md|json)$|^LICENSE$|^\.npmrc$/.test(name))
  await Promise.all(files.map((name) => cp(join(projectDir, name), join(copy, name), { recursive: true })))
  await mkdir(join(copy, 'scripts'))
  await cp(join(projectDir, 'scripts/commonjs.ts'), join(copy, 'scripts/commonjs.ts'))
  await symlink(join(projectDir, 'node_modules'), join(copy, 'node_modules'))
  await run('npm', ['pack', '--loglevel=error', '--pack-destination', folder], { cwd: copy })
  const name = (await readdir(folder)).find((file) => file.endsWith('.tgz'))
  if (name === undefined) throw new Error('npm pack made no tarball')

  const tarball = join(folder, name)
  const empty = join(folder, 'project')
  const installed = join(empty, 'node_modules/holdfast')
  await mkdir(installed, { recursive: true })
  await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  await cp(join(projectDir, 'node_modules/cockatiel'), join(empty, 'node_modules/cockatiel'), { recursive: true })
  await rm(copy, { recursive: true })
  return { tarball, project: empty, installed }
}
