import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReplayOptions } from '../../consumer/replay/options.ts'
import type { ReplayReport } from '../../consumer/replay/replay.ts'
import { staged, type Delivery, type Middleware } from '../../core/delivery.ts'
import { isHoldfastError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import { pipeline, type Pipeline } from '../../core/pipeline.ts'
import { numbered, until, type Bench, type TransportCase } from './transport-bench.ts'

const week = 7 * 86_400_000

/** A pipeline that says for how long its keys are remembered. */
const remembering = (retainMs: number): Pipeline =>
  pipeline('replayed')
    .use(staged<Middleware>((next) => next, { name: 'idempotency', facts: { store: 'postgresql', retainMs } }))
    .handle(() => {})

const fromStart = new Date(0)

const cases: readonly TransportCase[] = [
  {
    name: 'moves a group back: what it did comes again as a replay, in order, and what follows is new',
    async body(bench) {
      await handled(bench, 40)
      const report = await replayed(bench, { from: fromStart, scope: { own: 'again' } })
      assert.deepEqual([report.moved, report.messages, report.replayed], [true, 40, 40])
      const seen: Delivery<Bytes>[] = []
      // Through JSON: it is a setting of the service.
      const plan = JSON.parse(JSON.stringify(report.plan)) as ReplayReport['plan']
      bench.start((delivery) => void seen.push(delivery), { replay: plan })
      await until('all of them again', () => seen.length === 40)
      await bench.publish({ id: 'new', key: 'k0', body: null })
      await until('the new one', () => seen.length === 41)
      const [last, ...rest] = seen.toReversed()
      assert.deepEqual([last?.message.id, last?.replay, last?.replayScope], ['new', undefined, undefined])
      assert.ok(
        rest.every(({ replay, replayScope, first }) => replay === true && replayScope === 'again' && first !== true),
      )
      for (let key = 0; key < 4; key++) {
        const numbers = seen.filter(({ message }) => message.key === `k${key}` && message.id !== 'new')
        const ids = numbers.map(({ message }) => Number(message.id.slice(1)))
        assert.deepEqual(
          ids,
          ids.toSorted((a, b) => a - b),
        )
      }
    },
  },
  {
    name: 'counts in a dry run, and moves nothing',
    async body(bench) {
      await handled(bench, 20)
      const report = await replayed(bench, { from: fromStart, scope: 'same', dryRun: true })
      assert.deepEqual([report.moved, report.messages, report.remembered], [false, 20, 20])
      const seen: string[] = []
      bench.start(({ message }) => void seen.push(message.id))
      await bench.publish({ id: 'last', key: 'k0', body: null })
      await until('the last one', () => seen.includes('last'))
      assert.deepEqual(seen, ['last'])
    },
  },
  {
    name: 'does not move a group that runs, and names its members',
    async body(bench) {
      const seen = new Set<string>()
      const running = bench.start(({ message }) => void seen.add(message.id))
      await bench.publish(...recent(numbered(10, 2)))
      await until('ten', () => seen.size === 10)
      await refusal(replayed(bench, { from: fromStart, scope: 'same' }), /runs\. Stop its members first: \S+/)
      const { members } = await replayed(bench, { from: fromStart, scope: 'same', dryRun: true })
      assert.ok(members.length > 0)
      await running.stop()
    },
  },
  {
    name: 'ends a replay of its own scope where it was told to, and what lies behind comes again in the ordinary scope',
    async body(bench) {
      const seen = new Set<string>()
      const running = bench.start(({ message }) => void seen.add(message.id))
      await bench.publish(...recent(numbered(10, 2)))
      await sleep(100)
      const to = new Date()
      await sleep(100)
      await bench.publish(...recent(numbered(20, 2)).slice(10))
      await until('twenty', () => seen.size === 20)
      await running.stop()
      const report = await replayed(bench, { from: fromStart, to, scope: { own: 'half' } })
      assert.deepEqual([report.messages, report.replayed], [20, 10])
      const scopes = new Map<string, string | undefined>()
      bench.start(
        ({ message, replay, replayScope }) =>
          void scopes.set(message.id, replay === true ? (replayScope ?? 'same') : 'new'),
        { replay: report.plan },
      )
      await until('twenty again', () => scopes.size === 20)
      const expected = Array.from({ length: 20 }, (_, n) => (n < 10 ? 'half' : 'same'))
      assert.deepEqual(
        [...Array(20).keys()].map((n) => scopes.get(`m${n}`)),
        expected,
      )
    },
  },
  {
    name: 'refuses to go back to messages that nobody knows again, unless that is what was asked for',
    async body(bench) {
      await handled(bench, 10)
      await sleep(50)
      const naked = pipeline('naked').handle(() => {})
      await refusal(replayed(bench, { from: fromStart, scope: 'same', pipeline: naked }), /has no idempotency\(\)/)
      const forgetful = remembering(1)
      const asked = { from: fromStart, scope: 'same', pipeline: forgetful } as const
      await refusal(replayed(bench, asked), /keys are remembered from .* would go back to/)
      const cleaned = { from: fromStart, scope: 'same', oldestKeyMs: () => Promise.resolve(undefined) } as const
      await refusal(replayed(bench, cleaned), /keys are remembered from/)
      const own = await replayed(bench, { ...asked, scope: { own: 'x' }, dryRun: true })
      assert.deepEqual([own.messages, own.remembered], [10, 0])
      const again = await replayed(bench, { ...asked, runAgain: true })
      assert.deepEqual([again.moved, again.messages], [true, 10])
      assert.match(again.warnings.join(), /runAgain was said/)
    },
  },
  {
    name: 'goes back to positions, never ahead of the group',
    partitions: 1,
    async body(bench) {
      await handled(bench, 10)
      const before = await replayed(bench, { from: fromStart, scope: 'same', dryRun: true })
      const [range] = before.partitions
      assert.ok(range !== undefined)
      const { name, stood } = range
      await refusal(replayed(bench, { from: { [name]: stood + 1 }, scope: 'same' }), /would skip messages/)
      const report = await replayed(bench, { from: { [name]: stood - 3 }, scope: 'same' })
      assert.equal(report.messages, 3)
      const seen: string[] = []
      bench.start(({ message }) => void seen.push(message.id), { replay: report.plan })
      await until('three', () => seen.length === 3)
      await sleep(100)
      assert.deepEqual(seen.toSorted(), ['m7', 'm8', 'm9'])
    },
  },
]

export const replayCases = (): readonly TransportCase[] =>
  cases.map((each) => ({ ...each, needs: ({ replay }) => replay === true }))

/** Handles so many in the group, and stops. */
async function handled(bench: Bench, count: number): Promise<void> {
  const seen = new Set<string>()
  const running = bench.start(({ message }) => void seen.add(message.id))
  await bench.publish(...recent(numbered(count, 4)))
  await until(`${count} messages`, () => seen.size === count)
  await running.stop()
}

function recent<M extends { readonly timeMs?: number }>(messages: readonly M[]): readonly M[] {
  return messages.map((message) => ({ ...message, timeMs: Date.now() }))
}

function replayed(
  bench: Bench,
  options: Omit<ReplayOptions, 'pipeline'> & Partial<Pick<ReplayOptions, 'pipeline'>>,
): Promise<ReplayReport> {
  assert.ok(bench.replay !== undefined, 'the transport under test gives replay()')
  return bench.replay({ topics: [bench.topic], groupId: bench.groupId }, { pipeline: remembering(week), ...options })
}

async function refusal(work: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(
    work,
    (error) => isHoldfastError(error) && error.code === 'bad-order' && message.test(error.message),
  )
}
