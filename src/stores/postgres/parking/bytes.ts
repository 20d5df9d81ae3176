import { textField } from '../rows.ts'

/** Bytes travel as base64: not every client knows arrays of bytea, and a service may have parsers of its own. */
export function fromBase64(value: string): string {
  return `decode(${value}, 'base64')`
}

export function base64(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

export function bytesField(row: unknown, name: string): Uint8Array | null {
  const text = textField(row, name)
  return text === null ? null : Buffer.from(text, 'base64')
}
