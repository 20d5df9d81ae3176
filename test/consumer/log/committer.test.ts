import { expect, it } from 'vitest'
import { lanes } from '../../../src/consumer/lanes.ts'
import { Assignment, type LogItem } from '../../../src/consumer/log/assignment.ts'
import { Committer, type Epoch } from '../../../src/consumer/log/committer.ts'
import type { Position } from '../../../src/consumer/log/log-client.ts'
import { fakeClock } from '../../../src/testing/index.ts'

/** An assignment of one partition of which everything up to `next` is done, and a group whose answers wait. */
function bench() {
  const clock = fakeClock()
  const keyed = lanes<LogItem<number>>({
    concurrency: 1,
    ahead: 1,
    redeliverMs: 1,
    clock,
    run: async () => {},
    onNack: () => 1,
  })
  const assigned = new Assignment<number>({
    lanes: keyed,
    client: { offsetOf: (record) => record, keyOf: () => null },
    inLanes: 1,
    onDone: () => {},
    now: () => clock.now(),
  })
  const sent: (readonly Position[])[] = []
  const answers: PromiseWithResolvers<void>[] = []
  let epoch: (Epoch & { isOver: boolean }) | undefined
  const errors: unknown[] = []
  const committer = new Committer<number, Epoch>({
    system: 'test',
    assigned,
    everyMs: 250,
    clock,
    epoch: () => epoch,
    mayCommit: () => true,
    failed: (error) => errors.push(error),
  })
  function join(member: string) {
    if (epoch !== undefined) epoch.isOver = true
    epoch = {
      isOver: false,
      session: {
        commit(positions) {
          sent.push(positions)
          const answer = Promise.withResolvers<void>()
          answers.push(answer)
          return answer.promise
        },
        resume() {},
      },
    }
    assigned.join(member, [{ topic: 't', partition: 0 }], new Error('moved'))
    const owned = assigned.find({ topic: 't', partition: 0 })
    if (owned === undefined) throw new Error('nothing owned')
    return owned
  }
  const positions = () => sent.map(([first]) => first?.position)
  return { clock, committer, answers, positions, errors, join }
}

it('commits what moved, once, and one call at a time', async () => {
  const { committer, answers, positions, join } = bench()
  join('me').passed(9)
  const first = committer.commit()
  expect(committer.commit()).toBe(first)
  answers[0]?.resolve()
  await first
  await committer.commit()
  expect(positions()).toEqual([10])
})

it('K-21: an answer that comes after the next join does not settle what that one has to commit', async () => {
  const { committer, answers, positions, join } = bench()
  join('me').passed(9)
  const late = committer.commit()
  join('me')
  answers[0]?.resolve()
  await late
  const again = committer.commit()
  answers[1]?.resolve()
  await again
  expect(positions()).toEqual([10, 10])
})

it('does not commit again over a join what the group has confirmed', async () => {
  const { committer, answers, positions, join } = bench()
  join('me').passed(9)
  const first = committer.commit()
  answers[0]?.resolve()
  await first
  join('me')
  await committer.commit()
  expect(positions()).toEqual([10])
})

it('K-11: never commits what is no offset', async () => {
  const { committer, positions, join } = bench()
  join('me').passed(-2)
  await committer.commit()
  expect(positions()).toEqual([])
})

it('tells of an error, and tries again', async () => {
  const { clock, committer, answers, errors, positions, join } = bench()
  const owned = join('me')
  owned.passed(9)
  const failing = committer.commit()
  answers[0]?.reject(new Error('no'))
  await failing
  expect(errors).toHaveLength(1)
  expect(owned.committed).toBeUndefined()
  await clock.advance(250)
  expect(positions()).toEqual([10, 10])
})

it('commits what moved while a commit was under way, also where nothing moves after that', async () => {
  const { clock, committer, answers, positions, join } = bench()
  const owned = join('me')
  owned.passed(9)
  committer.soon()
  await clock.advance(250)
  owned.passed(19)
  committer.soon()
  await clock.advance(250)
  expect(positions()).toEqual([10])
  answers[0]?.resolve()
  await clock.advance(250)
  expect(positions()).toEqual([10, 20])
})

it('tells nothing of an error that answers an earlier generation', async () => {
  const { committer, answers, errors, join } = bench()
  join('me').passed(9)
  const late = committer.commit()
  join('me')
  answers[0]?.reject(new Error('ILLEGAL_GENERATION'))
  await late
  expect(errors).toEqual([])
})
