import { describe, expect, it } from 'vitest'
import { pipeline, PermanentError } from 'holdfast'
import { instruments } from '../../src/core/recorder/instruments.ts'
import { recorder } from '../../src/core/recorder/recorder.ts'
import { bins, family, type Bins } from '../../src/core/recorder/series.ts'

/** A pipeline under a recorder whose clock the test owns. */
function timed(stride: number) {
  const kept: Bins[] = []
  let nowMs = 0
  const { middleware } = recorder({
    stride,
    now: () => nowMs,
    distributionOf(_, labels) {
      const made = bins([1], labels)
      kept.push(made)
      return made
    },
  })
  const handled = pipeline('timed')
    .use(middleware)
    .handle(({ message }) => (message.id === 'bad' ? Promise.reject(new PermanentError('bad')) : Promise.resolve()))
  return {
    kept,
    async run(times: number, stepMs: number, id = 'm'): Promise<void> {
      for (let at = 0; at < times; at++) {
        nowMs += stepMs
        await handled.dispatch({ message: { id, body: null } }).catch(() => {})
      }
    },
    count: () => kept.reduce((sum, { counts }) => sum + counts.reduce((all, one) => all + one, 0), 0),
  }
}

describe('the recorder', () => {
  it('times every delivery while they come slowly', async () => {
    const { run, count } = timed(8)
    await run(20, 1)
    expect(count()).toBe(20)
  })

  it('times one in eight where they come fast, and lets it stand for all of them', async () => {
    const { run, count } = timed(8)
    await run(8001, 0.01)
    expect(count()).toBeLessThanOrEqual(8001)
    expect(count()).toBeGreaterThan(8001 - 8)
  })

  it('is back at every delivery once they come slowly again', async () => {
    const { run, count } = timed(8)
    await run(1000, 0.01)
    await run(16, 1)
    const before = count()
    await run(20, 1)
    expect(count()).toBe(before + 20)
  })

  it('times failures too', async () => {
    const { run, count } = timed(8)
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
