import { writeFile } from 'node:fs/promises'
import { format, resolveConfig } from 'prettier'

/** Writes a page or a record as `npm run format` would leave it. */
export async function writeFormatted(file: string, text: string): Promise<void> {
  await writeFile(file, await format(text, { ...(await resolveConfig(file)), filepath: file }))
}
