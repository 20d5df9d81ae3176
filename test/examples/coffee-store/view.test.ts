import { expect, it } from 'vitest'
import { frame, type Progress } from '../../../examples/coffee-store/view.ts'
import { noCounts } from '../../../examples/coffee-store/watch.ts'

function progress(change: Partial<Progress> = {}): Progress {
  return {
    title: 'The coffee store',
    startedMs: 0,
    total: 2000,
    placed: 1200,
    published: 1380,
    counts: { order: noCounts(), stock: noCounts(), payment: noCounts(), customer: noCounts() },
    down: new Set(),
    circuit: { state: 'closed', timesOpened: 0, stopWatching: () => {} },
    paymentsDown: false,
    notes: [{ atMs: 1000, text: 'kill: the stock consumer is dead in the middle of its work', tone: 'bad' }],
    ...change,
  }
}

function text(columns: number, change?: Partial<Progress>): string[] {
  return frame(progress(change), columns).map((line) =>
    line.map((piece) => (typeof piece === 'string' ? piece : piece[0])).join(''),
  )
}

it.each([44, 60, 79, 80, 120])('fits into %i columns, with every figure', (columns) => {
  const lines = text(columns)
  expect(lines.filter((line) => line.trimEnd().length >= columns && !line.includes('circuit'))).toEqual([])
  expect(lines.join('\n')).toMatch(/orders .*1,200 of 2,000/)
  expect(lines.join('\n')).toMatch(/stock +─* +0 +1,380 +0 +0 +0/)
})

it('says which consumer is dead, and how the circuit stands', () => {
  expect(text(100).join('\n')).toMatch(/payment .* circuit closed/)
  const circuit = { state: 'open', timesOpened: 1, stopWatching: () => {} } as const
  const lines = text(100, { circuit, paymentsDown: true, down: new Set(['stock'] as const) }).join('\n')
  expect(lines).toMatch(/payment .* circuit open/)
  expect(lines).toMatch(/stock .* killed/)
})

it('breaks long notes between words', () => {
  expect(text(40).slice(-3)).toEqual([
    '  1.0 s  ✗ kill: the stock consumer is',
    '           dead in the middle of its',
    '           work',
  ])
})
