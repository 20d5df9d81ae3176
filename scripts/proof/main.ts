import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { format, resolveConfig } from 'prettier'
import { chaosScenarios, runScenario } from '../chaos/scenarios.ts'

const { values } = parseArgs({
  options: { full: { type: 'boolean', default: false }, seed: { type: 'string', default: '7' } },
})
const seed = Number(values.seed)

/** What each scenario calls it. Whatever is not here is not a fault. */
const INJECTED: Readonly<Record<string, string>> = {
  kills: 'kill -9',
  freezes: 'SIGSTOP',
  pauses: 'SIGSTOP',
  leaves: 'SIGTERM',
  brokerRestarts: 'broker restarted',
  restarts: 'database restarted',
  rolledBack: 'rolled back',
  prepared: 'prepared transactions',
}

interface Row {
  readonly name: string
  readonly code: number | null
  readonly seconds: number
  readonly counts: ReadonlyMap<string, number>
}

const rows: Row[] = []
for (const [name, scenario] of Object.entries(chaosScenarios)) {
  console.log(`\n${name}: ${scenario.what}`)
  const { code, seconds, printed } = await runScenario(scenario, { seed, minutes: 0, full: values.full })
  rows.push({ name, code, seconds, counts: countsIn(printed) })
}

const page = join(import.meta.dirname, '../../docs/proof.md')
writeFileSync(page, await format(pageOf(rows), { ...(await resolveConfig(page)), parser: 'markdown' }))
console.log(`\nwritten: ${page}`)
process.exitCode = rows.every(({ code }) => code === 0) ? 0 : 1

/** Lines of the form `  lost   0`, and the last line of the simulation. */
function countsIn(printed: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const [, name = '', count] of printed.matchAll(/^ {2}(\S.*?) {2,}(\d+)$/gm)) counts.set(name, Number(count))
  const schedules = /^(\d+) schedules in \d+ s, (\d+) per second/m.exec(printed)
  if (schedules !== null) {
    counts.set('schedules', Number(schedules[1]))
    counts.set('per second', Number(schedules[2]))
  }
  return counts
}

function pageOf(all: readonly Row[]): string {
  const simulated = all.filter(({ counts }) => counts.has('schedules'))
  const real = all.filter(({ counts }) => !counts.has('schedules'))
  return [
    '# Proof',
    '',
    `Written by \`npm run proof${values.full ? ' -- --full' : ''}\` (${values.full ? 'full length' : 'shortened'}) on ${new Date().toISOString().slice(0, 10)}, at commit \`${commit()}\`.`,
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GB.`,
    '',
    '## On real servers',
    '',
    '| scenario | injected | messages | lost | doubled | out of order | seconds | seed | verdict |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |',
    ...real.map(realRow),
    '',
    ...real.map(({ name }) => `- \`${name}\`: ${chaosScenarios[name]?.what ?? ''}.`),
    '',
    'A relay may publish a message again, with the same id: the outbox promises at least once, so its duplicates are counted and are no fault.',
    'On Kafka the effects commit in the transaction that completes the claim: none may happen twice.',
    '',
    '## In the simulated world',
    '',
    '| schedules | violations | per second | verdict |',
    '| ---: | ---: | ---: | --- |',
    ...simulated.map(({ counts, code }) => {
      const violations = code === 0 ? 0 : 'at least 1'
      return `| ${counts.get('schedules')} | ${violations} | ${counts.get('per second')} | ${verdict(code)} |`
    }),
    '',
    '`npm run chaos -- --scenario name --seed n` repeats one of them.',
    '',
    '## Not in this table',
    '',
    'Hazards that a test of their own shows, and that are not repeated here: lost replies of Redis, COMMIT answered by ROLLBACK, rotation under REPEATABLE READ, compacted offsets, offsets out of range, late completions, hostile headers.',
    'Not run by this command: a failover of Redis, pgbouncer, a broker that is down for ten minutes, a deadlock storm.',
    '',
  ].join('\n')
}

function realRow({ name, code, seconds, counts }: Row): string {
  const injected = Object.entries(INJECTED)
    .filter(([fault]) => (counts.get(fault) ?? 0) > 0)
    .map(([fault, what]) => `${counts.get(fault)} × ${what}`)
  const first = (...names: string[]) => names.map((one) => counts.get(one)).find((count) => count !== undefined) ?? '–'
  const doubled = counts.has('doubled') ? first('doubled') : `${first('duplicates')} repeats`
  const cells = [name, injected.join(', '), first('produced', 'committed'), first('lost'), doubled, first('outOfOrder')]
  return `| ${[...cells, Math.round(seconds), seed, verdict(code)].join(' | ')} |`
}

function verdict(code: number | null): string {
  return code === 0 ? 'kept' : 'BROKEN'
}

function commit(): string {
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
}
