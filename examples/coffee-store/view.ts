import { serviceNames, type ServiceName } from './plan.ts'
import { bar, canvas, grouped, seconds, wrapped, type Line, type Piece } from './terminal.ts'
import type { AllCounts, Circuit } from './watch.ts'

/** What there is to see while the shop is open. */
export interface Progress {
  readonly title: string
  readonly startedMs: number
  readonly total: number
  placed: number
  published: number
  readonly counts: AllCounts
  readonly down: Set<ServiceName>
  readonly circuit: Circuit
  paymentsDown: boolean
  readonly notes: Note[]
}

export interface Note {
  readonly atMs: number
  readonly text: string
  readonly tone: 'bad' | 'good'
}

export interface View {
  note(note: Note): void
  end(): void
}

export const noView: View = { note: () => {}, end: () => {} }

/** Redraws ten times a second. */
export function liveView(progress: Progress, stream: NodeJS.WriteStream): View {
  const { draw, end } = canvas(stream)
  const redraw = () => draw(frame(progress, stream.columns))
  const timer = setInterval(redraw, 100)
  process.once('exit', end)
  return {
    note: redraw,
    end() {
      clearInterval(timer)
      redraw()
      end()
    },
  }
}

/** For a pipe or a log: a line every other second, and one for each event. */
export function lineView(progress: Progress, stream: NodeJS.WritableStream): View {
  const say = (line: string) => stream.write(`${line}\n`)
  say(progress.title)
  const timer = setInterval(() => {
    const each = serviceNames.map((service) => `${service} ${progress.counts[service].acked.size}`)
    const { placed, total, published } = progress
    say(`${now()}  ${placed} of ${total} orders placed; of ${published} messages done: ${each.join(', ')}`)
  }, 2000)
  const now = () => seconds(performance.now() - progress.startedMs).padStart(7)
  return {
    note: ({ text }) => void say(`${now()}  ${text}`),
    end: () => clearInterval(timer),
  }
}

/** One picture of the shop, for a terminal of so many columns. */
export function frame(progress: Progress, columns: number): Line[] {
  const { title, startedMs, total, placed, published, notes } = progress
  const elapsed = seconds(performance.now() - startedMs)
  const room = columns >= 80
  const cell = (text: string) => text.padStart(room ? 8 : 6)
  const bars = (done: number, of: number): Piece[] => (room ? [...bar(done, of, barWidth), ' '] : [])
  const names = room ? ['done', 'waiting', 'repeats', 'retries', 'dead'] : ['done', 'wait', 'rep.', 'retr.', 'dead']
  return [
    [[` ${title}`, 'bold']],
    [],
    [' orders    ', ...bars(placed, total), cell(grouped(placed)), ` of ${grouped(total)}`, [`   ${elapsed}`, 'dim']],
    [],
    [[`${' '.repeat(room ? 12 + barWidth : 10)}${names.map(cell).join('')}`, 'dim']],
    ...serviceNames.map((service): Line => {
      const { acked, outcomes, retries, dead } = progress.counts[service]
      const numbers = [acked.size, published - acked.size, outcomes.duplicate, retries, dead.size]
      return [
        ` ${service.padEnd(room ? 10 : 9)}`,
        ...bars(acked.size, Math.max(published, total)),
        ...numbers.map((number) => cell(grouped(number))),
        '  ',
        ...stateOf(service, progress),
      ]
    }),
    [],
    ...notes.flatMap(({ atMs, text, tone }) => {
      const [first = '', ...more] = wrapped(text, columns - noteIndent - 1)
      const mark: Piece = tone === 'bad' ? ['✗', 'red'] : ['✓', 'green']
      const lines: Line[] = more.map((line) => [' '.repeat(noteIndent), line])
      return [[[seconds(atMs - startedMs).padStart(7), 'dim'], '  ', mark, ` ${first}`] satisfies Line, ...lines]
    }),
  ]
}

const barWidth = 22
const noteIndent = 11

function stateOf(service: ServiceName, { down, circuit, paymentsDown }: Progress): Piece[] {
  if (down.has(service)) return [['killed', 'red', 'bold']]
  if (service !== 'payment') return []
  if (circuit.state !== 'closed') return [[`circuit ${circuit.state}`, 'yellow', 'bold']]
  return paymentsDown ? [['API down', 'red']] : [['circuit closed', 'dim']]
}
