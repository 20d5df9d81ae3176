import { expect, it } from 'vitest'
import { Background, type PartEnd } from '../../src/core/background.ts'

it('takes a part that throws at once for one that failed, and starts nothing after its end', async () => {
  const ends: PartEnd[] = []
  const background = new Background((end) => ends.push(end))
  background.start([
    {
      run: () => {
        throw new Error('at once')
      },
    },
  ])
  await background.stop()
  expect(ends).toEqual([{ part: 'part 1', error: new Error('at once') }])
  let started = 0
  background.start([{ run: async () => void started++ }])
  expect(started).toBe(0)
})

it('calls parts by the names of their health, also those whose health throws', async () => {
  const ends: PartEnd[] = []
  const background = new Background((end) => ends.push(end))
  const health = () => ({ name: 'relay', live: true, ready: true, details: {} })
  background.start([
    { run: async () => {}, ...{ health } },
    {
      run: async () => {},
      ...{
        health: () => {
          throw new Error('not yet')
        },
      },
    },
  ])
  await expect.poll(() => ends.map(({ part }) => part)).toEqual(['relay', 'part 2'])
  await background.stop()
  expect(ends.length).toBe(2)
})
