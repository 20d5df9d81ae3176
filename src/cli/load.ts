import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Surroundings } from './command.ts'
import { usage } from './exit.ts'
import { printable } from './terminal.ts'

/** What a file of the user exports. It ends the command with one line if the file cannot be read. */
export async function load(name: string, { cwd }: Surroundings): Promise<Readonly<Record<string, unknown>>> {
  const file = resolve(cwd, name)
  if (!existsSync(file)) throw usage(`there is no ${printable(name)}`)
  try {
    return (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION')
      throw usage(`${name}: Node ${process.version} reads no TypeScript: use 22.18 or newer, or a file in JavaScript`)
    throw usage(
      `${name}: ${printable(error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'cannot be read')}`,
    )
  }
}
