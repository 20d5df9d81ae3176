import type { Pipeline } from '../../core/pipeline.ts'

/** How bodies travel to a pipeline. */
export interface Wire {
  /** Bytes stay as they are; anything else is written as JSON. */
  write(body: unknown): Uint8Array
  /** The pipeline as it is called with bytes. Without a decoder of its own it gets a copy of what was written. */
  reader<Entry>(pipeline: Pipeline<Entry>): Pipeline
}

export function jsonWire(): Wire {
  const encoder = new TextEncoder()
  const decoder = new TextDecoder()
  const written = new WeakSet<Uint8Array>()

  return {
    write(body) {
      if (body instanceof Uint8Array) return body
      const bytes = encoder.encode(JSON.stringify(body))
      written.add(bytes)
      return bytes
    },
    reader<Entry>(pipeline: Pipeline<Entry>): Pipeline {
      const decodes = pipeline.stages.some(({ name }) => name === 'decode')
      /** What arrives was made by the `body` of this test, for this pipeline. */
      const received = (bytes: Uint8Array | null): Entry =>
        (bytes === null || decodes || !written.has(bytes) ? bytes : JSON.parse(decoder.decode(bytes))) as Entry
      return {
        ...pipeline,
        step: (delivery) =>
          pipeline.step({ ...delivery, message: { ...delivery.message, body: received(delivery.message.body) } }),
        dispatch: (incoming) =>
          pipeline.dispatch({ ...incoming, message: { ...incoming.message, body: received(incoming.message.body) } }),
      }
    },
  }
}
