import { existsSync } from 'node:fs'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { isFull } from '../support/skipped.ts'
import { clients, entries, manifest, packed, projectDir, projectWith, run } from './support.ts'

const tools = join(import.meta.dirname, 'jest/node_modules')

/** A project with the package as npm puts it, clients of ours beside it, and some files. */
async function projectOf(files: Readonly<Record<string, string>>): Promise<string> {
  const project = await projectWith(...clients)
  await writeAll(project, files)
  return project
}

async function writeAll(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true })
    await writeFile(join(folder, name), text)
  }
}

describe('every entry', () => {
  it.each(entries)('$name has one ES module, a CommonJS name for it, and types for both', ({ name, ...target }) => {
    const built = target.default.replace(/\.js$/, '')
    expect(target).toEqual({
      require: { types: `${built}.d.cts`, default: `${built}.cjs` },
      types: `${built}.d.ts`,
      default: `${built}.js`,
    })
    expect(existsSync(join(packed.installed, `${built}.cjs`))).toBe(true)
    // What reads no `exports` (moduleResolution node10) goes by these two.
    const older = name === 'holdfast' ? manifest.types : manifest.typesVersions['*'][name.replace('holdfast/', '')]
    expect([older].flat()).toEqual([`${built}.d.ts`])
  })

  it('is one module for import and for require', async () => {
    const code = `
      const required = require('holdfast')
      import('holdfast').then((imported) => console.log(required.pipeline === imported.pipeline))`
    const project = await projectOf({})
    expect(await run(process.execPath, ['--input-type=commonjs', '--eval', code], { cwd: project })).toBe('true\n')
  })
})

describe('a TypeScript project', () => {
  const use = [
    `import { pipeline } from 'holdfast'`,
    ...entries.map(({ name }, index) => `import * as entry${index} from '${name}'`),
    `const orders = pipeline('orders').handle(({ message }) => { const id: string = message.id; console.log('handled', id) })`,
    '// @ts-expect-error: the types are there',
    'export const wrong: number = orders.name',
    `void orders.dispatch({ message: { id: 'order-1', body: null } })`,
    `export const all = [${entries.map((_, index) => `entry${index}`).join(', ')}]`,
  ].join('\n')
  const compilers = { '6.0': 'node_modules/typescript', '5.9': 'test/package/typescript-5.9/node_modules/typescript' }
  const settings = [
    { type: 'module', module: 'nodenext' },
    { type: 'module', module: 'node16' },
    { type: 'commonjs', module: 'nodenext' },
    { type: 'commonjs', module: 'node20' },
    { type: 'commonjs', module: 'node18' },
    { type: 'commonjs', module: 'node16' },
    { type: 'commonjs', module: 'commonjs', moduleResolution: 'node10' },
    { type: 'module', module: 'esnext', moduleResolution: 'bundler' },
    { type: 'module', module: 'preserve' },
  ]

  // But for the full run, a setting is tried with one of the two compilers.
  const newer = settings.filter(({ module }) => /nodenext|esnext/.test(module))
  const older = isFull ? settings : settings.filter((one) => !newer.includes(one))
  const tried = { '6.0': newer, '5.9': older }

  describe.each(Object.entries(tried))('under TypeScript %s', (version, ones) => {
    let project = ''
    let said: readonly string[] = []
    const folderOf = ({ type, module }: (typeof ones)[number]) => `${type}-${module}`

    // A build of many projects reads the declarations once for all of them.
    beforeAll(async () => {
      project = await projectOf({})
      for (const one of ones) {
        const { type, ...module } = one
        const compilerOptions = {
          ...{ target: 'es2024', lib: ['es2024'], types: ['node'], strict: true, skipLibCheck: true, outDir: 'out' },
          ...module,
        }
        await writeAll(join(project, folderOf(one)), {
          'package.json': JSON.stringify({ type }),
          'use.ts': use,
          'tsconfig.json': JSON.stringify({ compilerOptions, files: ['use.ts'] }),
        })
      }
      const compiler = version === '6.0' ? compilers['6.0'] : compilers['5.9']
      said = await build(join(projectDir, compiler, 'bin/tsc'), project, ones.map(folderOf))
    })

    it.each(ones)('compiles as $type, module $module', async (one) => {
      const mine = said.filter((line) =>
        ones.every((other) => other === one || !line.startsWith(`${folderOf(other)}/`)),
      )
      expect(mine).toEqual([])
      // What the compiler wrote runs as it is, unless it is for a bundler.
      const cwd = join(project, folderOf(one))
      if (/esnext|preserve/.test(one.module)) expect(existsSync(join(cwd, 'out/use.js'))).toBe(true)
      else expect(await run(process.execPath, ['out/use.js'], { cwd })).toBe('handled order-1\n')
    })
  })
})

/** What the compiler says while it builds these projects, each in its folder. */
async function build(tsc: string, cwd: string, folders: readonly string[]): Promise<readonly string[]> {
  const printed = await run(process.execPath, [tsc, '--build', ...folders], { cwd }).catch((error: unknown) => {
    const { cause } = error as { readonly cause?: { readonly stdout?: string } }
    return cause?.stdout?.trim() === '' ? String(error) : (cause?.stdout ?? String(error))
  })
  return printed.split('\n').filter((line) => line.trim() !== '')
}

describe('Jest and esbuild', () => {
  beforeAll(async () => {
    if (!existsSync(tools)) await run('npm', ['ci', '--no-audit'], { cwd: join(tools, '..') })
  })

  const test = `
    test('handles a message', async () => {
      const orders = pipeline('orders').handle(() => {})
      expect(await orders.dispatch({ message: { id: 'order-1', body: null } })).toBe('handled')
    })`
  const required = `const { pipeline } = require('holdfast')\n${test}`
  const kit = `
    test('runs the chaos kit', async () => {
      const effects = { charge: keyed(() => {}, (id) => id) }
      await expectResilient(({ message }, { charge }) => charge(message.id), { effects, seeds: 20 })
    })`
  const imported = `import { pipeline } from 'holdfast'\nimport { expectResilient, keyed } from 'holdfast/testing'\n${test}${kit}`
  const plugin = join(tools, '@babel/plugin-transform-modules-commonjs')
  const transformed = {
    transformIgnorePatterns: ['/node_modules/(?!(holdfast|cockatiel)/)'],
    transform: { '\\.js$': ['babel-jest', { plugins: [plugin], babelrc: false, configFile: false }] },
  }
  const jest = async (flags: readonly string[], files: Readonly<Record<string, string>>, config: object) => {
    const project = await projectOf({ ...files, 'package.json': JSON.stringify({ jest: { rootDir: '.', ...config } }) })
    const args = [...flags, join(tools, 'jest/bin/jest.js'), '--rootDir', project, '--no-cache']
    return run(process.execPath, args, { cwd: project, timeoutMs: 120_000 }).then(
      () => 'passed',
      (error: unknown) => String(error),
    )
  }

  it('Jest runs tests in CommonJS and as ES modules with --experimental-vm-modules', async () => {
    const files = { 'required.test.js': required, 'imported.test.mjs': imported }
    const testMatch = ['**/*.test.js', '**/*.test.mjs']
    expect(await jest(['--experimental-vm-modules'], files, { testMatch })).toBe('passed')
  })

  it('Jest without that flag has to transform holdfast and cockatiel', async () => {
    const files = { 'required.test.js': required }
    expect(await jest([], files, {})).not.toBe('passed')
    expect(await jest([], files, transformed)).toBe('passed')
  })

  it.each(['esm', 'cjs'])('esbuild bundles it as %s', async (format) => {
    const project = await projectOf({
      'use.ts': `import { pipeline } from 'holdfast'
        import { kafkajsPublisher } from 'holdfast/kafkajs'
        const orders = pipeline('orders').handle(() => {})
        orders.dispatch({ message: { id: 'order-1', body: null } }).then((how) => console.log(how, typeof kafkajsPublisher))`,
    })
    const name = format === 'esm' ? 'bundle.mjs' : 'bundle.cjs'
    const flags = ['--bundle', '--platform=node', `--format=${format}`, '--external:kafkajs', `--outfile=${name}`]
    await run(join(tools, 'esbuild/bin/esbuild'), ['use.ts', ...flags, '--log-level=warning'], { cwd: project })
    expect(await run(process.execPath, [name], { cwd: project })).toBe('handled function\n')
    expect(await readdir(project)).toContain(name)
  })
})
