import type { IncomingMessage, RequestListener } from 'node:http'
import { isFailedBefore, isHoldfastError, isPermanent, isRetryLater } from 'holdfast'
import type { Answered } from 'holdfast/results'

/** What a caller of an endpoint sends, besides the key. */
export type Call<Result> = (id: string, body: Uint8Array) => Promise<Answered<Result>>

interface Reply {
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * An endpoint that does one thing once for each `Idempotency-Key`, as the draft of the IETF has it: the same key gives the same
 * answer again; while the first request runs it is 409, and with another body 422.
 */
export function endpoint<Result>(call: Call<Result>, maxBytes = 65_536): RequestListener {
  return (request, response) => {
    answer(request)
      .then(({ status, body, headers = {} }) => {
        response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
      })
      .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  }

  async function answer(request: IncomingMessage): Promise<Reply> {
    const key = request.headers['idempotency-key']
    if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key))
      return { status: 400, body: { error: 'give an Idempotency-Key of at most 255 characters' } }
    const body = await bodyOf(request, maxBytes)
    if (body === undefined) return { status: 413, body: { error: `more than ${maxBytes} bytes` } }
    try {
      // In a service with users the id has the user in front: `${user}/${key}`. Two users may choose one key.
      const answered = await call(key, body)
      if (answered.found) return { status: 200, body: answered.result, headers: repeatedOf(answered) }
      return { status: 409, body: { error: `it was done before, and its result is gone: ${answered.because}` } }
    } catch (error) {
      return replyTo(error)
    }
  }
}

function repeatedOf({ repeated }: { readonly repeated: boolean }): Record<string, string> {
  return repeated ? { 'idempotency-replayed': 'true' } : {}
}

function replyTo(error: unknown): Reply {
  if (isRetryLater(error)) {
    const headers = { 'retry-after': String(Math.ceil(error.afterMs / 1000)) }
    // The lane is the key: somebody else handles it at this moment. Anything else is an outage.
    if (error.holds === 'lane') return { status: 409, body: { error: 'the first request is still running' }, headers }
    return { status: 503, body: { error: 'not now' }, headers }
  }
  if (isHoldfastError(error) && error.code === 'key-conflict')
    return { status: 422, body: { error: 'this key came with another body before' } }
  if (isFailedBefore(error))
    return {
      status: 402,
      body: { error: error.failure.errorMessage },
      headers: repeatedOf({ repeated: true }),
    }
  if (isPermanent(error)) return { status: 402, body: { error: error instanceof Error ? error.message : 'refused' } }
  return { status: 500, body: { error: 'failed' } }
}

async function bodyOf(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
