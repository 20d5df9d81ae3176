import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'

/** One `import` or `export … from`, as the source says it. */
export interface Import {
  /** The importing file, from the root of the source. */
  readonly from: string
  /** A file from the root of the source, or the name of a package. */
  readonly to: string
  readonly kind: 'file' | 'package' | 'builtin'
  readonly typeOnly: boolean
  /** Said as `import(…)`, so that it happens when it is reached and not when the file is loaded. */
  readonly dynamic: boolean
}

/** Every TypeScript file under a folder, from that folder. */
export function sourceFiles(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return names.filter((name) => name.endsWith('.ts')).map((name) => name.replaceAll('\\', '/'))
}

/** The imports of one file, dynamic and type-only ones included. */
export function importsOf(root: string, file: string): Import[] {
  const path = join(root, file)
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean, dynamic = false) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    const name = specifier.text
    if (name.startsWith('.')) {
      found.push({
        from: file,
        to: relative(root, join(dirname(path), name)).replaceAll('\\', '/'),
        kind: 'file',
        typeOnly,
        dynamic,
      })
    } else {
      const to = name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/')
      found.push({ from: file, to, kind: name.startsWith('node:') ? 'builtin' : 'package', typeOnly, dynamic })
    }
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeImport(node))
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, isTypeExport(node))
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false, true)
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** All files that a file reaches, itself first. */
export function reachable(start: string, imports: readonly Import[]): string[] {
  const seen = new Set([start])
  for (const file of seen) {
    for (const { to, kind } of imports.filter(({ from }) => from === file)) if (kind === 'file') seen.add(to)
  }
  return [...seen]
}

/** One cycle of files, or nothing. */
export function findCycle(files: readonly string[], imports: readonly Import[]): string[] | undefined {
  const targets = new Map(
    files.map((file) => [file, imports.filter(({ from, kind }) => from === file && kind === 'file')]),
  )
  const done = new Set<string>()
  const walk = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return undefined
    for (const { to } of targets.get(file) ?? []) {
      const cycle = walk(to, [...path, file])
      if (cycle !== undefined) return cycle
    }
    done.add(file)
    return undefined
  }
  for (const file of files) {
    const cycle = walk(file, [])
    if (cycle !== undefined) return cycle
  }
  return undefined
}

function isTypeImport({ importClause }: ts.ImportDeclaration): boolean {
  if (importClause === undefined) return false
  if (importClause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true
  const { name, namedBindings } = importClause
  if (name !== undefined || namedBindings === undefined || !ts.isNamedImports(namedBindings)) return false
  return namedBindings.elements.every(({ isTypeOnly }) => isTypeOnly)
}

function isTypeExport({ isTypeOnly, exportClause }: ts.ExportDeclaration): boolean {
  if (isTypeOnly) return true
  return (
    exportClause !== undefined &&
    ts.isNamedExports(exportClause) &&
    exportClause.elements.every((one) => one.isTypeOnly)
  )
}
