import type { Scenario } from '../chaos/scenario.ts'
import type { Record } from './records.ts'

interface Group {
  readonly title: string
  readonly scenarios: readonly Scenario[]
}

export function pageOf(groups: readonly Group[], records: readonly Record[]): string {
  const recordOf = ({ name }: Scenario) => records.find((record) => record.name === name)
  const kept = records.filter(({ violations }) => violations.length === 0).length
  const total = groups.reduce((sum, { scenarios }) => sum + scenarios.length, 0)
  const newest = records.map(({ around }) => around).reduce((a, b) => (a.date > b.date ? a : b))
  return [
    '# Proof',
    '',
    `Written by \`npm run proof\`: ${kept} of ${total} promises kept. The last run was on ${newest.date}: ${newest.versions.join(', ')}; ${newest.hardware}.`,
    '',
    '`npm run chaos -- --scenario name --seed n` repeats a row: the seed is that of the fault plan; what the servers and the processes make of it differs from run to run. A fault that was not injected fails its row. Recovery is from the end of the fault to the next message that is settled, the longest where there were several. [How this works](chaos/real-servers.md).',
    '',
    ...groups.flatMap(({ title, scenarios }) => [
      `## ${title}`,
      '',
      '| fault | injected | messages | lost | duplicate effects | out of order | recovery | seconds | seed | commit | verdict |',
      '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |',
      ...scenarios.map((scenario) => line(scenario, recordOf(scenario))),
      '',
      ...scenarios.map((scenario) => explained(scenario, recordOf(scenario))),
      '',
    ]),
    '## Where a row promises less',
    '',
    ...records.flatMap(({ name, report }) => {
      const { lost, doubled } = report?.allowed ?? {}
      const counts = [
        ...(lost === undefined ? [] : [`${report?.lost} lost (${limit(lost)})`]),
        ...(doubled === undefined ? [] : [`${report?.doubled} duplicates (${limit(doubled)})`]),
      ]
      return counts.length === 0 ? [] : [`- \`${name}\`: ${counts.join(', ')}.`]
    }),
    '',
  ].join('\n')
}

function line({ name }: Scenario, record: Record | undefined): string {
  if (record === undefined) return `| \`${name}\` | not run yet | ${'– | '.repeat(8)}– |`
  const { report, seconds, seed, full, violations, around } = record
  const verdict = violations.length === 0 ? 'kept' : `BROKEN: ${violations.join('; ')}`
  const injected = Object.entries(report?.injected ?? {}).map(([fault, count]) => `${count} × ${fault}`)
  const figures = [report?.messages, report?.lost, report?.doubled, report?.outOfOrder].map((figure) => figure ?? '–')
  const recovery = inSeconds(report?.recoveryMs ?? null)
  const took = `${Math.round(seconds)}${full ? ' (full)' : ''}`
  const cells = [`\`${name}\``, injected.join(', ') || '–', ...figures, recovery, took, seed, around.commit, verdict]
  return `| ${cells.join(' | ')} |`
}

function explained({ name, what, promise }: Scenario, record: Record | undefined): string {
  const notes = record?.report?.notes === undefined ? '' : ` Seen: ${record.report.notes}.`
  return `- \`${name}\`: ${what}. Promised: ${promise}.${notes}`
}

function inSeconds(ms: number | null): string {
  if (ms === null) return '–'
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

function limit(allowed: number | 'counted'): string {
  return allowed === 'counted' ? 'counted, not promised' : `at most ${allowed} allowed`
}
