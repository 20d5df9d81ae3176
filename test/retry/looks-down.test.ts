import { expect, it } from 'vitest'
import { AbandonedError, HoldfastError, PermanentError } from '../../src/core/errors.ts'
import { dependencyErrors } from '../../src/retry/circuit/looks-down.ts'

const withCode = (code: unknown, more: object = {}) => Object.assign(new Error('x'), { code, ...more })
const grpc = { details: 'x', metadata: {} }

it.each<[string, unknown]>([
  ['our time-out', new HoldfastError('timed-out', 'too late')],
  ['AbortSignal.timeout', new DOMException('x', 'TimeoutError')],
  ...['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EAI_AGAIN', 'ETIMEDOUT', 'ENOTFOUND', 'UND_ERR_HEADERS_TIMEOUT'].map(
    (code): [string, unknown] => [code, withCode(code)],
  ),
  ...['ERR_TLS_CERT_ALTNAME_INVALID', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT'].map(
    (code): [string, unknown] => [code, withCode(code)],
  ),
  ...[500, 502, 503, 504].map((status): [string, unknown] => [
    `status ${status}`,
    Object.assign(new Error(), { status }),
  ]),
  ['statusCode 503', Object.assign(new Error(), { statusCode: 503 })],
  ['response.status 503', withCode('ERR_BAD_RESPONSE', { response: { status: 503 } })],
  ...['08006', '53300', '57P01', '58030'].map((code): [string, unknown] => [`SQLSTATE ${code}`, withCode(code)]),
  ...[4, 8, 14].map((code): [string, unknown] => [`gRPC ${code}`, withCode(code, grpc)]),
  ['fetch failed, by its cause', new TypeError('fetch failed', { cause: withCode('ECONNREFUSED') })],
  ['all addresses refused', new AggregateError([withCode('ECONNREFUSED')], 'x')],
])('%s looks as if the dependency were down', (_, error) => {
  expect(dependencyErrors(error)).toBe(true)
})

it.each<[string, unknown]>([
  ['a TypeError', new TypeError('x is undefined')],
  ['a permanent error', new PermanentError('x')],
  ['a permanent error for an outage', new PermanentError('x', { cause: new Error('y') })],
  ...[400, 404, 409, 422, 429, 501].map((status): [string, unknown] => [
    `status ${status}`,
    Object.assign(new Error(), { status }),
  ]),
  ...['23505', '40P01', '57014', '42P01', 'P0001', 'P1017', 'P2002'].map((code): [string, unknown] => [
    `code ${code}`,
    withCode(code),
  ]),
  ...[3, 5, 13].map((code): [string, unknown] => [`gRPC ${code}`, withCode(code, grpc)]),
  ['a DOMException with the legacy code 8', new DOMException('x', 'NotFoundError')],
  [
    'an answer that hides a lost connection',
    Object.assign(new Error('x', { cause: withCode('ECONNRESET') }), { status: 404 }),
  ],
  ['a text', 'ECONNREFUSED'],
  ['nothing', undefined],
  ['a given-up handler', new AbandonedError('x', Promise.resolve())],
])('%s is an answer', (_, error) => {
  expect(dependencyErrors(error)).toBe(false)
})

it('follows no circle of causes', () => {
  const error = new Error('x')
  error.cause = error
  expect(dependencyErrors(error)).toBe(false)
})
