import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { committedHash } from '../testing/fixtures/fingerprint.ts'
import { describeUnless } from '../support/skipped.ts'
import { entries, manifest, packed, projectDir, run } from './support.ts'

/** What `engines` names as the oldest Node. */
const VERSION = `${manifest.engines.node.replace('>=', '')}.0`

/** The package on the npm registry that holds Node for this machine, and nothing else. */
const PACKAGE = `node-${process.platform}-${process.arch}`

const reason = process.platform === 'win32' ? 'Node is packed otherwise for Windows' : undefined

describeUnless(reason, 'under the oldest Node that is supported', () => {
  const folder = join(projectDir, `node_modules/.cache/node-${VERSION}`)
  const node = join(folder, 'node_modules', PACKAGE, 'bin/node')

  beforeAll(async () => {
    if (existsSync(node)) return
    await mkdir(folder, { recursive: true })
    await run('npm', ['install', '--no-audit', '--no-save', '--prefix', folder, `${PACKAGE}@${VERSION}`], {
      cwd: folder,
    })
  })

  function runThere(code: string): Promise<string> {
    return run(node, ['--input-type=module', '--eval', code], { cwd: packed.project })
  }

  it(`is ${VERSION}`, async () => {
    expect(await run(node, ['--version'])).toBe(`v${VERSION}\n`)
  })

  it.each(entries.filter(({ name }) => !/tracing|metrics|platformatic|nats|nest/.test(name)))(
    '$name is imported',
    async ({ name }) => {
      expect(await runThere(`console.log(Object.keys(await import('${name}')).length > 0)`)).toBe('true\n')
    },
  )

  it('a message is handled', async () => {
    const code = `
      import { pipeline } from 'holdfast'
      const seen = []
      const orders = pipeline('orders').handle(({ message }) => { seen.push(message.id) })
      console.log(await orders.dispatch({ message: { id: 'a', body: new Uint8Array() } }), seen.join())`
    expect(await runThere(code)).toBe('handled a\n')
  })

  it('the chaos kit runs the schedules that it runs here', async () => {
    const flags = ['--experimental-strip-types', '--disable-warning=ExperimentalWarning']
    const fingerprints = (executable: string) =>
      run(executable, [...flags, join(projectDir, 'test/testing/fixtures/fingerprint.ts')])
    const [there, here] = [await fingerprints(node), await fingerprints(process.execPath)]
    const hashes = `${committedHash} ${here.trim().split(' ')[2]}`
    expect(there.trim()).toBe(`v${VERSION} ${hashes}`)
    expect(here.trim()).toBe(`${process.version} ${hashes}`)
  })
})
