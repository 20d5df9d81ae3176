import { headersFrom, type Bytes, type Delivery } from 'holdfast'

/** Deliveries as a transport hands them over: a fresh id each, one signal for all. */
export function deliveries(): () => Delivery<Bytes> {
  const headers = headersFrom([])
  const origin = { system: 'bench', destination: 'bench', partition: '0', position: '0', group: null }
  const { signal } = new AbortController()
  const body = Buffer.from('{"orderId":"1","cents":450}')
  let count = 0
  return () => ({
    message: { id: `m${count++}`, type: 'bench', key: null, headers, body, timeMs: 0 },
    bytes: body,
    pipeline: 'bench',
    origin,
    attempt: 1,
    first: true,
    signal,
    raw: null,
  })
}
