import { readFileSync } from 'node:fs'

/** A fenced block of TypeScript in a page. */
export interface CodeBlock {
  /** The line of its first line of code, counted from 1. */
  readonly line: number
  readonly code: string
  /** What follows `ts` on the fence. */
  readonly mark: string
}

/** The TypeScript blocks of a Markdown page, in order. */
export function codeBlocks(page: string): CodeBlock[] {
  const blocks: CodeBlock[] = []
  const lines = readFileSync(page, 'utf8').split('\n')
  let open: { mark: string | undefined; line: number; code: string[] } | undefined
  lines.forEach((text, index) => {
    const fence = /^```(\w*) ?(.*)$/.exec(text)
    if (fence === null) {
      open?.code.push(text)
    } else if (open === undefined) {
      open = { mark: fence[1] === 'ts' ? fence[2] : undefined, line: index + 2, code: [] }
    } else {
      if (open.mark !== undefined) blocks.push({ line: open.line, code: open.code.join('\n'), mark: open.mark })
      open = undefined
    }
  })
  if (open !== undefined) throw new Error(`${page}: the block before line ${open.line} is never closed`)
  return blocks
}
