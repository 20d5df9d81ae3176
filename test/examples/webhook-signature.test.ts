import { describe, expect, it } from 'vitest'
import { isSigned, sign, type WebhookHeaders } from '../../examples/webhook/signature.ts'

const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const other = 'whsec_b3RoZXI='
const body = Buffer.from('{"test": 2432232314}')
const [id, seconds, nowMs] = ['msg_p5jXN8AQM9LWM0D4loKWxJek', '1614265330', 1_614_265_330_000]
const headers: WebhookHeaders = {
  'webhook-id': id,
  'webhook-timestamp': seconds,
  'webhook-signature': `v1,${sign(id, seconds, body, secret)}`,
}

describe('the signature of a webhook', () => {
  it('is that of the specification', () => {
    // The example of https://github.com/standard-webhooks/standard-webhooks
    expect(sign(id, seconds, body, secret)).toBe('g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
  })

  const cases: [string, boolean, WebhookHeaders, bytes?: Buffer, secrets?: string[], atMs?: number][] = [
    ['a signed call', true, headers],
    [
      'one of several signatures',
      true,
      { ...headers, 'webhook-signature': `v1,AAAA v1a,x ${String(headers['webhook-signature'])}` },
    ],
    ['the older of two secrets', true, headers, body, [other, secret]],
    ['another secret', false, headers, body, [other]],
    ['another body', false, headers, Buffer.from('{"test": 2432232315}')],
    ['another id', false, { ...headers, 'webhook-id': 'msg_2' }],
    ['another time', false, { ...headers, 'webhook-timestamp': '1614265331' }],
    ['an old call', false, headers, body, [secret], nowMs + 301_000],
    ['a call of the future', false, headers, body, [secret], nowMs - 301_000],
    ['no signature', false, { ...headers, 'webhook-signature': undefined }],
    ['a time that is no number', false, { ...headers, 'webhook-timestamp': 'now' }],
    ['two ids', false, { ...headers, 'webhook-id': ['a', 'b'] }],
  ]
  it.each(cases)('%s: %s', (_, expected, given, bytes = body, secrets = [secret], at = nowMs) => {
    expect(isSigned(given, bytes, secrets, at)).toBe(expected)
  })
})
