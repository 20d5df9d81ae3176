import { expect, it } from 'vitest'
import type { EachBatchPayload, Offsets } from 'kafkajs'
import { lanes } from '../../../src/consumer/lanes.ts'
import { assignment, type Item } from '../../../src/transports/kafkajs/assignment.ts'
import { committer } from '../../../src/transports/kafkajs/committer.ts'
import { fakeClock } from '../../../src/testing/index.ts'

/** An assignment of one partition of which everything up to `next` is done, and a group whose answers wait. */
function bench() {
  const clock = fakeClock()
  const keyed = lanes<Item>({ concurrency: 1, ahead: 1, redeliverMs: 1, clock, run: async () => {}, onNack: () => 1 })
  const assigned = assignment({ keyed, inLanes: 1, onDone: () => {}, now: () => clock.now() })
  const sent: Offsets[] = []
  const answers: PromiseWithResolvers<void>[] = []
  const payload = {
    commitOffsetsIfNecessary(offsets: Offsets) {
      sent.push(offsets)
      answers.push(Promise.withResolvers())
      return answers.at(-1)?.promise
    },
  } as unknown as EachBatchPayload
  const errors: unknown[] = []
  const { commit } = committer(
    assigned,
    () => payload,
    () => true,
    (error) => errors.push(error),
  )
  const positions = () => sent.map(({ topics }) => topics[0]?.partitions[0]?.offset)
  return {
    assigned,
    commit,
    answers,
    positions,
    errors,
    join: (member: string) => assigned.join(member, { t: [0] }, new Error('moved')),
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

it('commits what moved, once, and one call at a time', async () => {
  const { assigned, commit, answers, positions, join } = bench()
  const [owned] = join('me')
  if (owned === undefined) throw new Error('nothing owned')
  assigned.skip(owned, 9)
  const first = commit()
  expect(commit()).toBe(first)
  await turn()
  answers[0]?.resolve()
  await first
  await commit()
  expect(positions()).toEqual(['10'])
})

it('K-21: an answer that comes after the next join does not settle what that one has to commit', async () => {
  const { assigned, commit, answers, positions, join } = bench()
  const [owned] = join('me')
  if (owned === undefined) throw new Error('nothing owned')
  assigned.skip(owned, 9)
  const late = commit()
  await turn()
  join('me')
  answers[0]?.resolve()
  await late
  const again = commit()
  await turn()
  answers[1]?.resolve()
  await again
  expect(positions()).toEqual(['10', '10'])
})

it('K-11: never commits what is no offset', async () => {
  const { assigned, commit, positions, join } = bench()
  const [owned] = join('me')
  if (owned === undefined) throw new Error('nothing owned')
  assigned.skip(owned, -2)
  await commit()
  expect(positions()).toEqual([])
})

it('tells of an error and goes on', async () => {
  const { assigned, commit, answers, errors, join } = bench()
  const [owned] = join('me')
  if (owned === undefined) throw new Error('nothing owned')
  assigned.skip(owned, 9)
  const failing = commit()
  await turn()
  answers[0]?.reject(new Error('no'))
  await failing
  expect(errors).toHaveLength(1)
  expect(owned.committed).toBeUndefined()
})
