import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { main } from '../../src/cli/main.ts'
import { codeBlocks } from '../../test/support/code-blocks.ts'
import { projectDir } from '../services/paths.ts'

/** A document as `holdfast contracts write` has written it. */
export interface Written {
  /** The file with the contracts, and the document's name. */
  readonly name: string
  readonly text: string
}

/** Every file of the project that exports services: the examples', the tests', and that of the page on contracts. */
function sources(scratch: string): readonly { readonly name: string; readonly file: string }[] {
  const examples = readdirSync(join(projectDir, 'examples'))
    .map((name) => join(projectDir, 'examples', name, 'contracts.ts'))
    .filter((file) => existsSync(file))
  const fixtures = ['coffee.ts', 'shapes.ts'].map((name) => join(projectDir, 'test/contracts', name))
  const page = join(scratch, 'page.ts')
  const block = codeBlocks(join(projectDir, 'docs/contracts.md')).find(({ code }) => code.includes('service('))
  writeFileSync(page, block?.code ?? '')
  return [
    ...[...examples, ...fixtures].map((file) => ({ name: relative(projectDir, file), file })),
    { name: 'docs/contracts.md', file: page },
  ]
}

/** Writes all documents with the command itself. `@throws` what the command says where it does not end well. */
export async function writtenDocuments(): Promise<readonly Written[]> {
  // Inside the project, so that its packages are found.
  const scratch = join(import.meta.dirname, 'dist')
  mkdirSync(scratch, { recursive: true })
  try {
    const written: Written[] = []
    for (const { name, file } of sources(scratch)) {
      const out = join(scratch, String(written.length))
      await write(file, out)
      for (const document of readdirSync(out).filter((each) => each.startsWith('asyncapi.')))
        written.push({ name: `${name}: ${document}`, text: readFileSync(join(out, document), 'utf8') })
    }
    return written
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

async function write(from: string, out: string): Promise<void> {
  let said = ''
  const exit = await main(['contracts', 'write', '--from', from, '--out', out], {
    env: {},
    cwd: projectDir,
    columns: 160,
    interactive: false,
    signal: new AbortController().signal,
    out: () => {},
    err: (text) => (said += text),
    ask: () => Promise.resolve(''),
    async *readInput() {},
  })
  if (exit !== 0) throw new Error(`contracts write --from ${from} ended with ${exit}: ${said}`)
}
