import { createHmac, timingSafeEqual } from 'node:crypto'

/** The headers of https://www.standardwebhooks.com, by name. */
export type WebhookHeaders = Readonly<Record<string, string | readonly string[] | undefined>>

/** An older call may be a copy that somebody sends again. */
const toleranceMs = 300_000

/**
 * Whether one of the secrets (`whsec_…`) signed this call: id, time and body. Give two secrets while you change from one to
 * the other.
 */
export function isSigned(
  headers: WebhookHeaders,
  body: Buffer,
  secrets: readonly string[],
  nowMs = Date.now(),
): boolean {
  const { 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': signatures } = headers
  if (typeof id !== 'string' || typeof seconds !== 'string' || typeof signatures !== 'string') return false
  if (!/^\d{1,12}$/.test(seconds) || Math.abs(nowMs - Number(seconds) * 1000) > toleranceMs) return false
  const given = signatures.split(' ').filter((each) => each.startsWith('v1,'))
  return secrets.some((secret) => {
    const expected = Buffer.from(`v1,${sign(id, seconds, body, secret)}`)
    return given.some((each) => each.length === expected.length && timingSafeEqual(Buffer.from(each), expected))
  })
}

export function sign(id: string, seconds: string, body: Buffer, secret: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  return createHmac('sha256', key).update(`${id}.${seconds}.`).update(body).digest('base64')
}
