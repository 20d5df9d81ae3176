import { readdir, readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { publint } from 'publint'
import { describe, expect, it } from 'vitest'
import { clients, entries, manifest, packed, projectDir, projectWith, run, runThere } from './support.ts'
import { complaintsOf } from './types.ts'

describe('the packed package', () => {
  it('pleases publint', async () => {
    const { messages } = await publint({ pkgDir: packed.installed, strict: true, pack: false })
    expect(messages).toEqual([])
  })

  it('has types that resolve for every kind of consumer', async () => {
    const attw = join(projectDir, 'node_modules/@arethetypeswrong/cli/dist/index.js')
    await run(process.execPath, [attw, packed.tarball, '--no-emoji', '--no-color'])
  })

  it('holds the build, the source, the pages, the dashboard and the alerts, and nothing else', async () => {
    const names = await readdir(packed.installed, { recursive: true })
    expect(names.filter((name) => !/^(bin|dist|src|docs|examples|grafana|prometheus)(\/|$)/.test(name)).sort()).toEqual(
      ['CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'README.md', 'SECURITY.md', 'package.json'],
    )
    const strays = names.filter(
      (name) => /^(dist|src)\/.*\.\w+$/.test(name) && !/\.(js|d\.ts|ts|map|cjs|d\.cts)$/.test(name),
    )
    expect(strays).toEqual([])
  })

  it('carries what its pages link to', async () => {
    const names = await readdir(packed.installed, { recursive: true })
    const pages = names.filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
    const broken: string[] = []
    for (const page of pages) {
      const text = (await readFile(join(packed.installed, page), 'utf8')).replaceAll(/```[\s\S]*?```/g, '')
      for (const [, link = ''] of text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g))
        if (!/^[a-z]+:/.test(link) && !existsSync(join(packed.installed, dirname(page), link)))
          broken.push(`${page}: ${link}`)
    }
    expect(broken).toEqual([])
    expect(pages.length).toBeGreaterThan(40)
  })

  it('has one built module for each source file', async () => {
    const built = (await readdir(join(packed.installed, 'dist'), { recursive: true })).filter((name) =>
      name.endsWith('.js'),
    )
    const sources = (await readdir(join(packed.installed, 'src'), { recursive: true })).filter((name) =>
      name.endsWith('.ts'),
    )
    expect(built.map((name) => name.replace(/\.js$/, '')).sort()).toEqual(
      sources.map((name) => name.replace(/\.ts$/, '')).sort(),
    )
  })

  it('lists every entry that was built, and builds every entry that it lists', async () => {
    const built = await readdir(join(packed.installed, 'dist'), { recursive: true })
    const indexes = built.filter((name) => /(^|\/)index\.js$/.test(name)).map((name) => `./dist/${name}`)
    // An entry may be one file as well; an index is always one.
    expect(entries.map((entry) => entry.default)).toEqual(expect.arrayContaining(indexes))
    const missing = entries.flatMap((entry) => [entry.types, entry.default])
    expect(missing.filter((name) => !existsSync(join(packed.installed, name)))).toEqual([])
  })

  it('depends on cockatiel alone, and asks for every client as an optional peer', () => {
    expect(Object.keys(manifest.dependencies)).toEqual(['cockatiel'])
    const { peerDependencies = {}, peerDependenciesMeta = {} } = manifest
    expect(Object.keys(peerDependencies).filter((name) => peerDependenciesMeta[name]?.optional !== true)).toEqual([])
  })

  it('runs no script when it is installed', async () => {
    const { scripts } = JSON.parse(await readFile(join(packed.installed, 'package.json'), 'utf8')) as {
      scripts: object
    }
    expect(Object.keys(scripts).filter((name) => /^(pre|post)?install$|^prepare$/.test(name))).toEqual([])
  })
})

describe('importing the packed package', () => {
  /** Tracing and metrics are about their libraries; all others are handed live clients. */
  const needs: Readonly<Record<string, readonly string[]>> = {
    'holdfast/tracing': ['@opentelemetry/api'],
    'holdfast/metrics': ['prom-client'],
    // It speaks the protocol with its classes.
    'holdfast/platformatic-kafka': ['@platformatic/kafka'],
    'holdfast/nest': ['@nestjs/common', '@nestjs/core'],
    'holdfast/nats': ['@nats-io/jetstream', '@nats-io/kv', '@nats-io/transport-node'],
  }

  it.each(entries.filter(({ name }) => !(name in needs)))('$name needs no peer', async ({ name }) => {
    expect(await runThere(`console.log(Object.keys(await import('${name}')).length > 0)`)).toBe('true\n')
  })

  it.each(entries.filter(({ name }) => name in needs))('$name needs only its library', async ({ name }) => {
    const project = await projectWith(...(needs[name] ?? []))
    const code = `console.log(Object.keys(await import('${name}')).length > 0)`
    expect(await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: project })).toBe('true\n')
  })

  it('works from CommonJS', async () => {
    const code = `console.log(typeof require('holdfast').pipeline)`
    expect(await run(process.execPath, ['--input-type=commonjs', '--eval', code], { cwd: packed.project })).toBe(
      'function\n',
    )
  })
})

describe('the packed types', () => {
  const compilers = { '6.0': 'node_modules/typescript', '5.9': 'test/package/typescript-5.9/node_modules/typescript' }

  it.each(Object.entries(compilers))('hold under TypeScript %s, checked whole', async (version, folder) => {
    const project = await projectWith(...clients)
    const imports = entries.map(({ name }, index) => `import * as entry${index} from '${name}'`)
    const uses = `export const all = [${entries.map((_, index) => `entry${index}`).join(', ')}]`
    const settings = { target: 'es2024', lib: ['es2024'], module: 'nodenext', types: ['node'], noEmit: true }
    const compilerOptions = { ...settings, strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false }
    await writeFile(join(project, 'use.ts'), [...imports, uses].join('\n'))
    await writeFile(join(project, 'package.json'), '{ "type": "module" }')
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }))
    // Those of the clients are not ours to mend.
    const ours = complaintsOf(join(projectDir, folder), project, (file) =>
      /^(use\.ts|node_modules\/holdfast\/)/.test(file),
    )
    expect(ours.version).toMatch(new RegExp(`^${version.replace('.', '\\.')}\\.`))
    expect(ours.complaints).toEqual([])
    expect(ours.files).toBeGreaterThan(entries.length)
  })
})
