import type { ResolvedLetter } from './store.ts'

/**
 * What makes it the same dead letter: pipeline, origin destination, id, key and body, each with its length, so that no two
 * of them run together. A UUID of 128 bits of SHA-256. Redeliveries, fan-out and imports fold into one letter; another body
 * under the same id does not.
 */
export function foldOf({ pipeline, destination, id, key, body }: Omit<ResolvedLetter, 'generation'>): string {
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256')
  for (const part of [pipeline, destination, id, key, body]) {
    if (part === null) {
      hash.update('-')
      continue
    }
    // UTF-16 code units: UTF-8 would write every lone surrogate the same.
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf16le') : part
    hash.update(`${bytes.length}:`).update(bytes)
  }
  const hex = hash.digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}
