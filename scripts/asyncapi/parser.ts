import { createRequire } from 'node:module'
import { installOwnPackages } from '../own-packages.ts'

/** One thing that the parser has to say of a document. */
export interface Finding {
  readonly level: 'error' | 'warning' | 'information'
  readonly rule: string
  readonly at: string
  readonly says: string
}

/** Tells what the official parser finds in a document. */
export type Judge = (document: string) => Promise<readonly Finding[]>

interface Diagnostic {
  readonly code: string | number
  readonly message: string
  readonly path: readonly (string | number)[]
  readonly severity: number
}

/** What is used of `@asyncapi/parser`. */
interface AsyncApi {
  readonly Parser: new () => {
    parse(document: string): Promise<{ readonly document?: unknown; readonly diagnostics: readonly Diagnostic[] }>
  }
}

/** The official parser. It has 168 packages, so it is installed here when it is first asked for. */
export function officialParser(): Judge {
  installOwnPackages(import.meta.dirname, 'asyncapi: installing the official parser…', ['--ignore-scripts'])
  const { Parser } = createRequire(import.meta.url)('@asyncapi/parser') as AsyncApi
  const parser = new Parser()
  return async function judge(text) {
    const { document, diagnostics } = await parser.parse(text)
    const found = diagnostics.map(({ code, message, path, severity }): Finding => {
      const level = severity === 0 ? 'error' : severity === 1 ? 'warning' : 'information'
      return { level, rule: String(code), at: `/${path.join('/')}`, says: message }
    })
    const isRefused = document === undefined && !found.some(({ level }) => level === 'error')
    return isRefused ? [...found, { level: 'error', rule: 'no-document', at: '/', says: 'it gave no document' }] : found
  }
}
