import { firstHeader, type Headers } from '../core/message.ts'
import type { OutboxRow } from './store.ts'

/** The header with a message's expiry in ms since 1970. It travels with the message, so consumers can check it too. */
export const expiresHeader = 'message-expires-at'

/** When a message expires, in ms since 1970; `null` where it does not say so. */
export function expiryOf({ headers }: { readonly headers: Headers }): number | null {
  const text = firstHeader(headers, [expiresHeader])
  return text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : null
}

/** Whether a row has expired, by the clock of the store that stamped it, so long after it was read. */
export function hasExpired(row: OutboxRow, sinceReadMs: number): boolean {
  const expiresMs = expiryOf(row)
  return expiresMs !== null && expiresMs <= row.timeMs + row.ageMs + sinceReadMs
}
