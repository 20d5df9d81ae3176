import { describe, expect, it } from 'vitest'
import { PermanentError } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { journal, type JournalEntry } from '../../src/operations/index.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

function given(options: { readonly record?: 'all'; readonly maxBuffered?: number } = {}) {
  const clock = fakeClock()
  const written: JournalEntry[] = []
  const state = { down: false }
  const store = {
    writeJournal: (entries: readonly JournalEntry[]) =>
      state.down ? Promise.reject(new Error('down')) : Promise.resolve(void written.push(...entries)),
    cleanJournal: () => Promise.resolve(0),
  }
  const kept = journal({ store, clock, ...options })
  const orders = pipeline('journalled')
    .use(deadLetter({ to: { publish: () => Promise.resolve() } }))
    .handle(({ message }) => {
      if (message.id.startsWith('bad')) throw new PermanentError('a bug')
    })
  const send = (id: string) => orders.dispatch({ message: { id, body: null } })
  return { clock, written, state, kept, send }
}

describe('journal()', () => {
  it('writes failures down together, and nothing of what was handled', async () => {
    const { clock, written, kept, send } = given()
    await send('m1')
    await send('bad-1')
    expect(written).toEqual([])
    await clock.advance(250)
    expect(written).toMatchObject([
      { messageId: 'bad-1', pipeline: 'journalled', what: 'dead-lettered', detail: 'PermanentError: a bug' },
    ])
    await send('bad-2')
    await kept.stop()
    expect(written.map(({ messageId }) => messageId)).toEqual(['bad-1', 'bad-2'])
    await send('bad-3')
    expect(written).toHaveLength(2)
  })

  it('writes everything down where it is told to', async () => {
    const { written, kept, send } = given({ record: 'all' })
    await send('m1')
    await kept.stop()
    expect(written).toMatchObject([{ messageId: 'm1', what: 'handled' }])
  })

  it('D-27 drops entries before it delays a message, and counts them', async () => {
    const { clock, kept, send, state } = given({ maxBuffered: 2 })
    for (const id of ['bad-1', 'bad-2', 'bad-3']) expect(await send(id)).toBe('dead-lettered')
    expect(kept.dropped).toBe(1)
    state.down = true
    await clock.advance(250)
    expect(kept.dropped).toBe(3)
    await kept.stop()
  })
})
