import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import type typescript from 'typescript'

export interface Complaints {
  /** That of the compiler. */
  readonly version: string
  /** How many files were asked about. */
  readonly files: number
  /** What it says of them, and of the settings. */
  readonly complaints: readonly string[]
}

/** What a compiler says of some files of a project, named from its folder; of the others it looks at what these need. */
export function complaintsOf(compiler: string, folder: string, asks: (file: string) => boolean): Complaints {
  const ts = createRequire(import.meta.url)(compiler) as typeof typescript
  const project = realpathSync(folder)
  const fail = ({ messageText }: typescript.Diagnostic) => {
    throw new Error(ts.flattenDiagnosticMessageText(messageText, '\n'))
  }
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: fail }
  const config = ts.getParsedCommandLineOfConfigFile(join(project, 'tsconfig.json'), {}, host)
  if (config === undefined) throw new Error(`there is no tsconfig.json in ${project}`)
  const program = ts.createProgram(config.fileNames, config.options)
  const asked = program.getSourceFiles().filter(({ fileName }) => asks(relative(project, fileName)))
  const found = [
    ...config.errors,
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...asked.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]),
  ]
  const text = ts.formatDiagnostics(found, {
    getCurrentDirectory: () => project,
    getCanonicalFileName: (name) => name,
    getNewLine: () => '\n',
  })
  return { version: ts.version, files: asked.length, complaints: text.split('\n').filter((line) => line !== '') }
}
