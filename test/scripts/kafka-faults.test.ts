import { expect, it } from 'vitest'
import { faults, hadEach, kindsOf, noFaults, type Crew } from '../../scripts/chaos/kafka/faults.ts'
import type { Member } from '../../scripts/chaos/kafka/member.ts'

it('a run of a row goes on until each kind of fault that the row counts has happened', () => {
  const most = { ...noFaults(), pauses: 3, leaves: 2, brokerRestarts: 2, freezes: 1 }
  expect(hadEach(most, true)).toBe(false)
  expect(hadEach({ ...most, kills: 1 }, true)).toBe(true)
  expect(hadEach({ ...most, kills: 1, brokerRestarts: 0 }, true)).toBe(false)
  expect(hadEach({ ...noFaults(), kills: 2 }, false)).toBe(false)
  expect(hadEach({ ...noFaults(), kills: 2, freezes: 1 }, false)).toBe(true)
})

it('counts each fault as it happens', async () => {
  const over = new AbortController()
  const counts = noFaults()
  const crew: Crew = { members: [], start: () => member() }
  function member(): Member {
    const made = { alive: true, isReady: true, exited: Promise.resolve(), signal: () => undefined }
    const one = made as unknown as Member
    crew.members.push(one)
    return one
  }
  for (let n = 0; n < 3; n++) member()
  const running = faults({
    ...{ crew, counts, size: 3, random: () => 0, kinds: kindsOf({ ordered: false, graceful: false }), pauseMs: 0 },
    restartBroker: () => Promise.resolve(),
    over: over.signal,
  })
  await expect.poll(() => counts.kills, { timeout: 5_000 }).toBe(1)
  over.abort()
  await running
})
