import type { Scenario } from '../chaos/scenario.ts'
import type { Row } from './row.ts'
import type { Surroundings } from './surroundings.ts'

interface Group {
  readonly title: string
  readonly scenarios: readonly Scenario[]
}

export function pageOf(
  groups: readonly Group[],
  rows: readonly Row[],
  { full, date, commit, versions, hardware }: Surroundings & { readonly full: boolean },
): string {
  const rowOf = (scenario: Scenario) => rows.filter((row) => row.scenario === scenario)
  const kept = rows.filter(({ violations }) => violations.length === 0).length
  const less = rows.filter(({ report }) => report?.allowed !== undefined)
  return [
    '# Proof',
    '',
    `Written by \`npm run proof${full ? ' -- --full' : ''}\` (${full ? 'full length' : 'shortened'}) on ${date}, at commit \`${commit}\`: ${kept} of ${rows.length} promises kept.`,
    '',
    `${versions.join(', ')}. ${hardware}.`,
    '',
    '`npm run chaos -- --scenario name --seed n` repeats a row: the seed is that of the fault plan; what the servers and the processes make of it differs from run to run. A fault that was not injected fails its row. Recovery is from the end of the fault to the next message that is settled, the longest where there were several. [How this works](chaos/real-servers.md).',
    '',
    ...groups.flatMap(({ title, scenarios }) => [
      `## ${title}`,
      '',
      '| fault | injected | messages | lost | duplicate effects | out of order | recovery | seconds | seed | verdict |',
      '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |',
      ...scenarios.flatMap(rowOf).map(line),
      '',
      ...scenarios.flatMap(rowOf).map(explained),
      '',
    ]),
    '## Where a row promises less',
    '',
    ...less.map(({ scenario, report }) => {
      const { lost, doubled } = report?.allowed ?? {}
      const counts = [
        ...(lost === undefined ? [] : [`${report?.lost} lost (${limit(lost)})`]),
        ...(doubled === undefined ? [] : [`${report?.doubled} duplicates (${limit(doubled)})`]),
      ]
      return `- \`${scenario.name}\`: ${counts.join(', ')}.`
    }),
    '',
  ].join('\n')
}

function line({ scenario, report, seconds, seed, violations }: Row): string {
  const verdict = violations.length === 0 ? 'kept' : `BROKEN: ${violations.join('; ')}`
  const injected = Object.entries(report?.injected ?? {}).map(([fault, count]) => `${count} × ${fault}`)
  const recovery = inSeconds(report?.recoveryMs ?? null)
  const figures = [report?.messages, report?.lost, report?.doubled, report?.outOfOrder].map((figure) => figure ?? '–')
  const cells = [`\`${scenario.name}\``, injected.join(', ') || '–', ...figures, recovery, Math.round(seconds), seed]
  return `| ${[...cells, verdict].join(' | ')} |`
}

function explained({ scenario: { name, what, promise }, report }: Row): string {
  const notes = report?.notes === undefined ? '' : ` Seen: ${report.notes}.`
  return `- \`${name}\`: ${what}. Promised: ${promise}.${notes}`
}

function inSeconds(ms: number | null): string {
  if (ms === null) return '–'
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

function limit(allowed: number | 'counted'): string {
  return allowed === 'counted' ? 'counted, not promised' : `at most ${allowed} allowed`
}
