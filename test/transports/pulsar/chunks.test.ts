import { describe, expect, it } from 'vitest'
import { Chunks, isChunk } from '../../../src/transports/pulsar/chunks.ts'
import type { Payload } from '../../../src/transports/pulsar/protocol/frames.ts'

const chunk = (uuid: string, chunkId: number, chunks: number, body: string): Payload => ({
  metadata: { uuid, chunkId, chunks, producerName: 'p', sequenceId: 7 },
  body: Buffer.from(body),
  isCorrupt: false,
})
const id = (entryId: number) => ({ ledgerId: 1, entryId })

describe('chunks', () => {
  it('are one message once all of them are here, acked together', () => {
    const chunks = new Chunks()
    expect(chunks.take(id(1), chunk('u', 0, 3, 'a'))).toBe('more')
    expect(chunks.take(id(4), chunk('u', 1, 3, 'b'))).toBe('more')
    expect(chunks.take(id(5), chunk('u', 2, 3, 'c'))).toEqual({
      ids: [id(1), id(4), id(5)],
      payload: {
        metadata: { uuid: 'u', chunkId: 2, chunks: 1, producerName: 'p', sequenceId: 7 },
        body: Buffer.from('abc'),
        isCorrupt: false,
      },
    })
  })

  it('of several producers may come in turns', () => {
    const chunks = new Chunks()
    chunks.take(id(1), chunk('u', 0, 2, 'a'))
    chunks.take(id(2), chunk('v', 0, 2, 'x'))
    expect(chunks.take(id(3), chunk('u', 1, 2, 'b'))).toMatchObject({ ids: [id(1), id(3)] })
    expect(chunks.take(id(4), chunk('v', 1, 2, 'y'))).toMatchObject({ ids: [id(2), id(4)] })
  })

  it('that a producer sent again are acked with their message, and are in it once', () => {
    const chunks = new Chunks()
    chunks.take(id(1), chunk('u', 0, 2, 'a'))
    expect(chunks.take(id(2), chunk('u', 0, 2, 'a'))).toBe('more')
    const whole = chunks.take(id(3), chunk('u', 1, 2, 'b'))
    expect(whole).toMatchObject({ ids: [id(1), id(2), id(3)], payload: { body: Buffer.from('ab') } })
    expect(chunks.take(id(4), chunk('u', 1, 2, 'b'))).toBe('again')
    expect(chunks.take(id(5), chunk('u', 0, 2, 'a'))).toBe('again')
  })

  it('without those before them are refused, and not taken for read', () => {
    const chunks = new Chunks()
    chunks.take(id(1), chunk('u', 0, 3, 'a'))
    expect(() => chunks.take(id(2), chunk('u', 2, 3, 'c'))).toThrow(/chunk 1 of its message did not come/)
    expect(() => chunks.take(id(3), chunk('v', 1, 2, 'b'))).toThrow(/chunk 0 of its message did not come/)
    expect(chunks.take(id(4), chunk('u', 1, 3, 'b'))).toBe('more')
    expect(chunks.take(id(5), chunk('u', 2, 3, 'c'))).toMatchObject({ ids: [id(1), id(4), id(5)] })
  })

  it('that never end are forgotten one day, and stay unacked', () => {
    const chunks = new Chunks()
    for (let n = 0; n <= 100; n++) chunks.take(id(n), chunk(`u${n}`, 0, 2, 'a'))
    expect(() => chunks.take(id(200), chunk('u0', 1, 2, 'b'))).toThrow(/did not come/)
    expect(chunks.take(id(201), chunk('u100', 1, 2, 'b'))).toMatchObject({ ids: [id(100), id(201)] })
  })

  it('are known by their metadata, if that can be trusted', () => {
    expect(isChunk(chunk('u', 0, 2, 'a'))).toBe(true)
    expect(isChunk(chunk('u', 0, 1, 'a'))).toBe(false)
    expect(isChunk({ ...chunk('u', 0, 2, 'a'), isCorrupt: true })).toBe(false)
  })
})
