// In UTF-8: a row of an index in PostgreSQL holds 2.7 KB, for scope and key together.
const longestKeyBytes = 512
const digestMark = 'sha256:'

/** Keys as every store can hold them: short, and text that PostgreSQL takes. Others travel as their digest. */
export function storedKey(key: string): string {
  const plain =
    Buffer.byteLength(key) <= longestKeyBytes &&
    key.isWellFormed() &&
    !key.includes('\0') &&
    !key.startsWith(digestMark)
  // Over UTF-16 code units: UTF-8 would write every lone surrogate the same.
  return plain ? key : digestMark + digest(Buffer.from(key, 'utf16le'))
}

export function digest(bytes: Uint8Array | string): string {
  // Loaded with the first digest: few services need one, and it is a sixth of what importing us takes.
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(bytes).digest('base64url')
}

/** One text for scope and key: no two claims have the same. */
export function claimName({ scope, key }: { readonly scope: string; readonly key: string }): string {
  return `${scope.length}:${scope}${key}`
}
