import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { codeBlocks, type CodeBlock } from '../support/code-blocks.ts'
import { packed, projectDir, run } from './support.ts'
import { complaintsOf } from './types.ts'

const pages = ['README.md', ...(await docsPages())]

describe('the quick start of the README', () => {
  it('runs in an empty project with the packed package', async () => {
    const [first] = codeBlocks(join(projectDir, 'README.md'))
    if (first === undefined) throw new Error('README.md has no block of TypeScript')
    const project = join(packed.project, 'quick-start')
    await mkdir(join(project, 'node_modules'), { recursive: true })
    for (const [, name = ''] of first.code.matchAll(/from '(@[\w-]+\/[\w-]+|[a-z][\w-]*)/g)) {
      // The package itself and cockatiel are found in the project around this one.
      if (name === 'node' || name === 'holdfast') continue
      await mkdir(join(project, 'node_modules', name, '..'), { recursive: true })
      await symlink(join(projectDir, 'node_modules', name), join(project, 'node_modules', name))
    }
    await writeFile(join(project, 'package.json'), '{ "type": "module" }')
    await writeFile(join(project, 'quick-start.ts'), first.code)
    const printed = await run(process.execPath, ['quick-start.ts'], { cwd: project, timeoutMs: 30_000 })
    console.log(`the quick start printed:\n${printed}`)
  })
})

describe('the code in README.md and docs/', () => {
  const folder = join(projectDir, '.docs-check')

  it('gives a reason wherever it is not checked', () => {
    const marks = pages.flatMap((page) =>
      codeBlocks(join(projectDir, page)).map(({ mark, line }) => ({ page, line, mark })),
    )
    expect(marks.filter(({ mark }) => !/^$|^continued$|^ignore: .{8}/.test(mark))).toEqual([])
  })

  it('type-checks', async () => {
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder)
    const modules = pages.flatMap((page) => modulesOf(page))
    await Promise.all(modules.map(({ file, code }) => writeFile(join(folder, file), code)))
    await writeFile(join(folder, 'none.ts'), 'export {}\n')
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(settings()))
    const compiler = join(projectDir, 'node_modules/typescript')
    const { complaints, files } = complaintsOf(compiler, folder, (file) => !file.startsWith('..'))
    // The compiler names the generated files; their line numbers are those of the pages.
    expect(complaints).toEqual([])
    expect(files).toBe(modules.length + 1)
    await rm(folder, { recursive: true })
  })
})

/** One module for each block; one marked `continued` joins the block before it. Lines stand where they stand in the page. */
function modulesOf(page: string): { file: string; code: string }[] {
  const groups: CodeBlock[][] = []
  for (const block of codeBlocks(join(projectDir, page))) {
    if (block.mark.startsWith('ignore')) continue
    if (block.mark === 'continued') groups.at(-1)?.push(block)
    else groups.push([block])
  }
  return groups.map((blocks, index) => {
    const lines: string[] = []
    for (const { line, code } of blocks) {
      while (lines.length < line - 1) lines.push('')
      lines.push(...code.split('\n'))
    }
    return {
      file: `${page.replaceAll('/', '~').replace(/\.md$/, '')}~${index + 1}.ts`,
      code: [...lines, 'export {}'].join('\n'),
    }
  })
}

function settings(): object {
  // Nest's decorators, and the fields that its constructors declare.
  const compilerOptions = { noUnusedLocals: false, experimentalDecorators: true, erasableSyntaxOnly: false }
  return { extends: '../tsconfig.json', compilerOptions, include: ['*.ts'] }
}

async function docsPages(): Promise<string[]> {
  const docs = join(projectDir, 'docs')
  if (!existsSync(docs)) return []
  const names = await readdir(docs, { recursive: true })
  return names.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)
}
