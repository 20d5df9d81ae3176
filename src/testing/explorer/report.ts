import type { Found } from './explorer.ts'
import { counted } from '../world/invariants.ts'
import { toLine } from './schedule.ts'
import type { Shrunk } from './shrink.ts'
import type { Line } from '../world/task.ts'

/** What a person reads: what is wrong, how it came about, and the line that makes it happen again. */
export function report(
  name: string,
  { found, schedules }: { found: Found; schedules: number },
  shrunk: Shrunk,
): string {
  const { size, deviations } = shrunk.schedule
  const { violation, left } = shrunk.run.simulation
  const replays = shrunk.replays === 0 ? 'replayed' : `shrunk in ${counted(shrunk.replays, 'replay')}`
  const made = `${counted(size.messages, 'message')}, ${counted(size.consumers, 'consumer')}, ${counted(deviations.length, 'deviation')}`
  const which =
    found.seed === 0 ? 'Even the run in which nothing goes wrong' : `Schedule ${schedules} (seed ${found.seed})`
  return [
    `${name}: ${violation?.invariant ?? 'no violation'}`,
    `  ${violation?.text ?? 'the schedule did not break it again'}`,
    '',
    `${which} broke it; ${replays} to ${made}:`,
    '',
    ...timeline(shrunk.run.simulation.lines),
    '',
    ...(left.size === 0 ? [] : [leftTheSimulation(left), '']),
    'Replay:',
    `  replay: '${toLine(shrunk.schedule)}'`,
  ].join('\n')
}

export function leftTheSimulation(left: ReadonlySet<string>): string {
  return (
    `The handler left the simulation (${[...left].join(', ')}): it waited for a socket, a thread or a file, which take ` +
    'real time, so that a replay may differ. Hand what it calls over as `effects`.'
  )
}

/** Lines of a schedule that was replayed from a line, without a search. */
export function replayReport(name: string, shrunk: Shrunk): string {
  return report(name, { found: { seed: -1, run: shrunk.run, deviations: [] }, schedules: 1 }, shrunk).replace(
    'Schedule 1 (seed -1) broke it; replayed to',
    'The replayed schedule broke it, with',
  )
}

export function timeline(lines: readonly Line[]): readonly string[] {
  const shown = folded(lines.filter(({ text }) => !background.test(text)))
  const width = Math.max(4, ...shown.map(({ who }) => who.length))
  return shown.map(
    ({ atMs, who, text }) => `  ${(atMs / 1000).toFixed(2).padStart(7)} s  ${who.padEnd(width)}  ${text}`,
  )
}

const background = /^(renew|release) \S+ → ok$/

// Two or three messages that wait at the same time ask in turns.
const lookBack = 4

/** Asking again and again is one line. */
function folded(lines: readonly Line[]): readonly Line[] {
  const kept: { line: Line; times: number }[] = []
  for (const line of lines) {
    const recent = kept.filter(({ line: { who } }) => who === line.who).slice(-lookBack)
    const same = line.text.includes('→') ? recent.find(({ line: { text } }) => text === line.text) : undefined
    if (same !== undefined) same.times++
    else kept.push({ line, times: 1 })
  }
  return kept.map(({ line, times }) => (times === 1 ? line : { ...line, text: `${line.text}, ${times} times` }))
}
