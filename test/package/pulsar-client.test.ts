import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { describeFull } from '../support/skipped.ts'
import { packed, projectDir, run } from './support.ts'

const folder = join(import.meta.dirname, 'pulsar-client')

const use = `
import * as Pulsar from 'pulsar-client'
import { pipeline, type Publisher } from 'holdfast'
import { pulsarConsumer, pulsarPublisher, type OfficialPulsarClient } from 'holdfast/pulsar'

const client = new Pulsar.Client({ serviceUrl: 'pulsar://localhost:6650' })
const fits: OfficialPulsarClient = client
const orders = pipeline('orders').handle(() => {})
export const consumer = pulsarConsumer({ client, subscription: 'billing', topics: ['orders'], pipeline: orders })
export const publisher: Publisher = pulsarPublisher(client, { timeoutMs: 5_000 })
export { fits }

declare const producer: Pulsar.Producer
// @ts-expect-error: a producer is no client
pulsarPublisher(producer)
`

describeFull('the official client of Pulsar', () => {
  it('fits by its real types, in the place of ours', { timeout: 120_000 }, async () => {
    if (!existsSync(join(folder, 'node_modules/pulsar-client')))
      await run('npm', ['ci', '--ignore-scripts', '--no-audit'], { cwd: folder })
    const project = await mkdtemp(join(packed.project, 'pulsar-'))
    const modules = join(project, 'node_modules')
    await mkdir(modules)
    await symlink(packed.installed, join(modules, 'holdfast'))
    await symlink(join(folder, 'node_modules/pulsar-client'), join(modules, 'pulsar-client'))
    await symlink(join(projectDir, 'node_modules/@types'), join(modules, '@types'))
    await writeFile(join(project, 'use.ts'), use)
    await writeFile(join(project, 'package.json'), '{ "type": "module" }')
    const compilerOptions = { module: 'nodenext', target: 'es2024', strict: true, noEmit: true, types: ['node'] }
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }))
    const tsc = join(projectDir, 'node_modules/typescript/bin/tsc')
    expect(await run(process.execPath, [tsc, '-p', project], { timeoutMs: 120_000 })).toBe('')
  })
})
