import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { apart, batcher, onceEach, Refused, type Send } from '../../src/stores/batcher.ts'

const settle = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

/** A store that answers when told to, and remembers what travelled together. */
function heldBack() {
  const batches: { readonly requests: readonly number[]; answer(): void; fail(error: unknown): void }[] = []
  const send: Send<number, string> = (requests) =>
    new Promise((resolve, reject) =>
      batches.push({
        requests,
        answer: () => resolve(requests.map((request) => `answer ${request}`)),
        fail: reject,
      }),
    )
  return { send, batches, sizes: () => batches.map(({ requests }) => requests.length) }
}

describe('batcher()', () => {
  it('sends what one turn brings together, and what waits meanwhile as the next batch', async () => {
    const store = heldBack()
    const ask = batcher({ send: store.send, maxBatch: 100, maxInFlight: 1 })
    const first = [1, 2, 3].map((request) => ask(request))
    // Still the same turn, however many promises later.
    await Promise.resolve()
    first.push(ask(4))
    await settle()
    expect(store.sizes()).toEqual([4])
    const later = [5, 6].map((request) => ask(request))
    await settle()
    later.push(ask(7))
    expect(store.sizes()).toEqual([4])
    store.batches[0]?.answer()
    expect(await Promise.all(first)).toEqual([1, 2, 3, 4].map((request) => `answer ${request}`))
    expect(store.sizes()).toEqual([4, 3])
    store.batches[1]?.answer()
    expect(await Promise.all(later)).toEqual([5, 6, 7].map((request) => `answer ${request}`))
  })

  it('keeps to the size of a batch and to the number in flight', async () => {
    const store = heldBack()
    const ask = batcher({ send: store.send, maxBatch: 2, maxInFlight: 2 })
    const answers = [1, 2, 3, 4, 5].map((request) => ask(request))
    await settle()
    expect(store.batches.map(({ requests }) => requests)).toEqual([
      [1, 2],
      [3, 4],
    ])
    for (const at of [1, 0]) store.batches[at]?.answer()
    await settle()
    store.batches[2]?.answer()
    expect(await Promise.all(answers)).toHaveLength(5)
  })

  it('rejects a whole batch that fails, and goes on', async () => {
    const store = heldBack()
    const ask = batcher({ send: store.send, maxBatch: 2, maxInFlight: 1 })
    const answers = Promise.allSettled([1, 2, 3].map((request) => ask(request)))
    await settle()
    store.batches[0]?.fail(new Error('down'))
    await settle()
    store.batches[1]?.answer()
    expect((await answers).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled'])
  })

  it('rejects the one that was refused, or not answered', async () => {
    const ask = batcher<number, string>({
      send: async () => ['fine', new Refused(new Error('not this one'))],
      maxBatch: 10,
      maxInFlight: 1,
    })
    const answers = await Promise.allSettled([1, 2, 3].map((request) => ask(request)))
    expect(answers).toMatchObject([
      { value: 'fine' },
      { reason: { message: 'not this one' } },
      { reason: { message: 'the store answered fewer requests than it was asked' } },
    ])
  })
})

describe('onceEach()', () => {
  it('I-33 never sends one name twice in a batch, and answers everybody', async () => {
    const requests = fc.array(fc.record({ name: fc.constantFrom('a', 'b', 'c'), follows: fc.boolean() }))
    await fc.assert(
      fc.asyncProperty(requests, async (asked) => {
        const send = onceEach<(typeof asked)[number], string>(
          async (batch) => {
            expect(new Set(batch.map(({ name }) => name)).size).toBe(batch.length)
            return batch.map(({ name }) => `sent ${name}`)
          },
          ({ name }) => name,
          ({ name, follows }) => (follows ? `follows ${name}` : undefined),
        )
        const answers = await send(asked)
        expect(answers).toHaveLength(asked.length)
        answers.forEach((answer, at) => {
          const { name = '', follows = false } = asked[at] ?? {}
          expect(follows ? [`sent ${name}`, `follows ${name}`] : [`sent ${name}`]).toContain(answer)
        })
      }),
    )
  })
})

describe('apart()', () => {
  const poison = new Error('poison')
  const send: Send<number, string> = async (requests) => {
    if (requests.includes(13)) throw poison
    return requests.map((request) => `answer ${request}`)
  }

  it('sends one by one what failed together, and refuses only the one at fault', async () => {
    const answers = await apart(send, (error) => error === poison)([1, 13, 2])
    expect(answers).toEqual(['answer 1', new Refused(poison), 'answer 2'])
    const instead = await apart(
      send,
      () => true,
      () => 'busy',
    )([13, 2])
    expect(instead).toEqual(['busy', 'answer 2'])
  })

  it('leaves a failure that is nobody`s own to all of them', async () => {
    await expect(apart(send, () => false)([1, 13])).rejects.toBe(poison)
  })
})
