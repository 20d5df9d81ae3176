/** A way to spoil a valid document, which the parser has to refuse. */
export interface Plant {
  readonly name: string
  readonly spoil: (document: string) => string
}

type Parts = Record<string, Record<string, Record<string, unknown>>>

const changed = (change: (document: Parts) => void) => (text: string) => {
  const document = JSON.parse(text) as Parts
  change(document)
  return JSON.stringify(document)
}
const first = <T>(all: Record<string, T> | undefined): T => {
  const [one] = Object.values(all ?? {})
  if (one === undefined) throw new Error('the document has nothing to spoil')
  return one
}

export const plants: readonly Plant[] = [
  { name: 'a wrong action', spoil: changed(({ operations }) => (first(operations)['action'] = 'shout')) },
  {
    name: 'an operation on a channel that is not there',
    spoil: changed(({ operations }) => (first(operations)['channel'] = { $ref: '#/channels/nowhere' })),
  },
  { name: 'no title', spoil: changed(({ info }) => delete info?.['title']) },
  {
    name: 'a payload that refers to nothing',
    spoil: changed(({ components }) => {
      first(components?.['messages'] as Record<string, Record<string, unknown>>)['payload'] = { $ref: '#/$defs/gone' }
    }),
  },
]
