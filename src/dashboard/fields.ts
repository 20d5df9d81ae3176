import type { Fields } from './visit.ts'

/** What a form must be to be read: `status` is the answer where it is not. */
export type Read = { readonly fields: Fields } | { readonly status: 400 | 413 | 415 }

const urlEncoded = /^application\/x-www-form-urlencoded(?:;|$)/i
const multipart = /^multipart\/form-data;/i

export const noFields: Fields = { text: () => '', has: () => false, all: () => [], file: async () => undefined }

/** Reads a form of at most so many bytes. A browser sends other types to another site only after asking, which nobody answers. */
export async function readFields(request: Request, maxBytes: number): Promise<Read> {
  const type = request.headers.get('content-type') ?? ''
  if (!urlEncoded.test(type) && !multipart.test(type)) return { status: 415 }
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) return { status: 413 }
  const bytes = await readAtMost(request, maxBytes)
  if (bytes === undefined) return { status: 413 }
  if (urlEncoded.test(type)) return { fields: fieldsOf([...new URLSearchParams(bytes.toString())]) }
  try {
    const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': type } }).formData()
    return { fields: fieldsOf([...form]) }
  } catch {
    return { status: 400 }
  }
}

async function readAtMost(request: Request, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > maxBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function fieldsOf(entries: readonly (readonly [string, string | File])[]): Fields {
  const all = (name: string): readonly string[] =>
    entries.flatMap(([each, value]) => (each === name && typeof value === 'string' ? [value] : []))
  return {
    text: (name) => all(name)[0] ?? '',
    has: (name) => entries.some(([each]) => each === name),
    all,
    async file(name) {
      const value = entries.find(([each]) => each === name)?.[1]
      // A browser sends a file of no bytes and no name where none was chosen.
      if (value === undefined || typeof value === 'string' || (value.size === 0 && value.name === '')) return undefined
      return new Uint8Array(await value.arrayBuffer())
    },
  }
}
