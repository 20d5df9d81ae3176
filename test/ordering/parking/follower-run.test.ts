import { expect, it } from 'vitest'
import { FollowerRun } from '../../../src/ordering/parking/follower-run.ts'
import type { Appended, AppendRequest } from '../../../src/ordering/parking/store.ts'

/** A store that answers when the test says so. */
function bench() {
  const calls: { readonly keys: readonly string[]; readonly answer: PromiseWithResolvers<readonly Appended[]> }[] = []
  const run = new FollowerRun({
    append(all) {
      const answer = Promise.withResolvers<readonly Appended[]>()
      calls.push({ keys: all.map(({ key }) => key), answer })
      return answer.promise
    },
  })
  const told: Record<string, Appended> = {}
  const ask = (place: number, key: string): void => {
    void run.append(place, requestOf(key)).then((answer) => (told[`${place} ${key}`] = answer))
  }
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return { calls, told, ask, turn }
}

function requestOf(key: string): AppendRequest {
  const body = Buffer.from(key)
  const rest = { keyText: key, fingerprint: null, generation: 0, cap: 9 }
  return { pipeline: 'p', lane: 'l', scope: 's', key, envelope: body, body, ...rest }
}

it('sends what comes in one turn in one call, and what comes later when that has its answer', async () => {
  const { calls, told, ask, turn } = bench()
  for (const [place, key] of ['a', 'b', 'c'].entries()) ask(place, key)
  await turn()
  ask(3, 'd')
  await turn()
  expect(calls.map(({ keys }) => keys)).toEqual([['a', 'b', 'c']])
  calls[0]?.answer.resolve(['appended', 'known', 'appended'])
  await turn()
  expect(calls.map(({ keys }) => keys)).toEqual([['a', 'b', 'c'], ['d']])
  calls[1]?.answer.resolve(['appended'])
  await turn()
  expect(told).toEqual({ '0 a': 'appended', '1 b': 'known', '2 c': 'appended', '3 d': 'appended' })
})

it('P-23 sends nothing behind one that did not come, or that did not get there', async () => {
  const first = bench()
  first.ask(1, 'b')
  first.ask(0, 'a')
  await first.turn()
  expect(first.calls).toEqual([])
  expect(first.told).toEqual({ '0 a': 'again', '1 b': 'again' })

  const { calls, told, ask, turn } = bench()
  ask(0, 'a')
  await turn()
  ask(1, 'b')
  calls[0]?.answer.resolve(['full'])
  await turn()
  ask(2, 'c')
  await turn()
  expect(calls).toHaveLength(1)
  expect(told).toEqual({ '0 a': 'full', '1 b': 'again', '2 c': 'again' })
})

it('P-12 asks for a repeat of a message when the first one has its answer', async () => {
  const { calls, told, ask, turn } = bench()
  for (const [place, key] of ['a', 'b', 'a', 'c'].entries()) ask(place, key)
  await turn()
  expect(calls.map(({ keys }) => keys)).toEqual([['a', 'b']])
  calls[0]?.answer.resolve(['appended', 'appended'])
  await turn()
  expect(calls[1]?.keys).toEqual(['a', 'c'])
  calls[1]?.answer.resolve(['known', 'appended'])
  await turn()
  expect(told).toEqual({ '0 a': 'appended', '1 b': 'appended', '2 a': 'known', '3 c': 'appended' })
})

it('hands all of them back where the store fails: each asks for itself then', async () => {
  const { calls, told, ask, turn } = bench()
  for (const [place, key] of ['a', 'b'].entries()) ask(place, key)
  await turn()
  calls[0]?.answer.reject(new Error('down'))
  await turn()
  expect(told).toEqual({ '0 a': 'again', '1 b': 'again' })
})
