import type { IncomingMessage, RequestListener } from 'node:http'
import { isPermanent, isRetryLater, type Pipeline } from 'holdfast'
import { isSigned } from './signature.ts'

export interface WebhookOptions {
  /** The secrets of the sender. A call that none of them signed is refused. */
  readonly secrets: readonly string[]
  readonly maxBytes?: number
}

/**
 * Answers a sender that repeats what is not answered with 2xx: 200 where the event is dealt with, 401 where it was
 * not signed, 400 where it never can be handled, 503 with `retry-after` where it should come again.
 */
export function webhook(pipeline: Pipeline, { secrets, maxBytes = 65_536 }: WebhookOptions): RequestListener {
  return (request, response) => {
    receive(request)
      .then(({ status, text, retryAfter }) => {
        response.writeHead(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end(`${text}\n`)
      })
      .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  }

  async function receive(request: IncomingMessage): Promise<Answer> {
    const id = request.headers['webhook-id']
    if (typeof id !== 'string') return { status: 400, text: 'no webhook-id' }
    const body = await bodyOf(request, maxBytes)
    if (body === undefined) return { status: 413, text: `more than ${maxBytes} bytes` }
    // Checked over the bytes as they came. After parsing it is too late: other bytes may mean the same.
    if (!isSigned(request.headers, body, secrets)) return { status: 401, text: 'not signed' }
    try {
      const outcome = await pipeline.dispatch({ message: { id, body }, origin: { system: 'http' }, raw: request })
      return { status: 200, text: outcome }
    } catch (error) {
      if (isPermanent(error)) return { status: 400, text: 'cannot be handled' }
      const waitMs = isRetryLater(error) ? error.afterMs : 1000
      return { status: 503, text: 'not now', retryAfter: String(Math.ceil(waitMs / 1000)) }
    }
  }
}

interface Answer {
  readonly status: number
  readonly text: string
  readonly retryAfter?: string
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
