import { describe, expect, it } from 'vitest'
import { pipeline, PermanentError } from 'holdfast'
import { instruments } from '../../src/core/recorder/instruments.ts'
import { recorder } from '../../src/core/recorder/recorder.ts'
import { bins, family, type Bins } from '../../src/core/recorder/series.ts'

/** A pipeline under a recorder whose clock the test owns. */
function timed() {
  const kept: Bins[] = []
  let nowMs = 0
  let stepMs = 0
  const { middleware } = recorder({
    now: () => nowMs,
    distributionOf(_, labels) {
      const made = bins([1], labels)
      kept.push(made)
      return made
    },
  })
  const handled = pipeline('timed')
    .use(middleware)
    .handle(({ message }) => {
      nowMs += stepMs
      return message.id === 'bad' ? Promise.reject(new PermanentError('bad')) : Promise.resolve()
    })
  return {
    kept,
    async run(times: number, tookMs: number, id = 'm'): Promise<void> {
      stepMs = tookMs
      for (let at = 0; at < times; at++) {
        await handled.dispatch({ message: { id, body: null } }).catch(() => {})
      }
    },
    count: () => kept.reduce((sum, { counts }) => sum + counts.reduce((all, one) => all + one, 0), 0),
  }
}

describe('the recorder', () => {
  it('times every delivery, however fast they come: a slow one among fast ones is seen', async () => {
    const { run, kept, count } = timed()
    for (let round = 0; round < 20; round++) {
      await run(249, 0.01)
      await run(1, 2000)
    }
    expect(count()).toBe(5000)
    expect(kept.reduce((sum, { counts }) => sum + (counts[1] ?? 0), 0)).toBe(20)
  })

  it('times failures too', async () => {
    const { run, count } = timed()
    await run(3, 1, 'bad')
    expect(count()).toBe(3)
  })
})

describe('a family of series', () => {
  it('stays bounded, whatever the labels say', () => {
    const all = family(instruments.deliveries, (labels) => ({ labels, value: 0 }))
    for (let at = 0; at < 3000; at++) all.of(`pipeline-${at}`, 'handled').value++
    const kept = [...all.all()]
    expect(kept).toHaveLength(1001)
    expect(kept.at(-1)).toEqual({ labels: { pipeline: 'other', outcome: 'other' }, value: 2000 })
  })

  it('keeps label values that share a joint apart', () => {
    const all = family(instruments.deliveries, (labels) => ({ labels, value: 0 }))
    expect(all.of('a', 'b')).not.toBe(all.of('ab', ''))
    expect(all.of('a', 'b')).toBe(all.of('a', 'b'))
  })
})

describe('bins', () => {
  it('put a value on a bound below it, and those beyond the last at the end', () => {
    const { observe, counts, ...rest } = bins([0.1, 1], {})
    for (const seconds of [0, 0.1, 0.2, 1, 1.1, 100]) observe(seconds)
    expect([...counts]).toEqual([2, 2, 2])
    expect(rest.labels).toEqual({})
  })
})
