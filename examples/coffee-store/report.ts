import { euros, type Audit } from './audit.ts'
import { serviceNames } from './plan.ts'
import { grouped, print, type Line } from './terminal.ts'

/** The audit for people. */
export function reportOf(audit: Audit, timesOpened: number): Line[] {
  const { orders, effects, faults, services } = audit
  const fact = (name: string, count: number, note: string): Line => [
    `  ${name.padEnd(22)}${grouped(count).padStart(8)}`,
    [`   ${note}`, 'dim'],
  ]
  const table = (cells: readonly (string | number)[]) =>
    `  ${cells.map((cell, n) => (n === 0 ? String(cell).padEnd(10) : (typeof cell === 'number' ? grouped(cell) : cell).padStart(11))).join('')}`
  return [
    [],
    [['  The audit', 'bold']],
    [],
    fact('orders', orders.placed, `by ${orders.customers} customers, ${orders.poison} of them poison`),
    fact('messages', orders.published, `${orders.sentAgain} orders were sent twice`),
    fact('deliveries', audit.deliveries, `to ${serviceNames.length} services`),
    fact('duplicates suppressed', audit.duplicatesSuppressed, 'recognised, and not handled again'),
    fact(
      'retries',
      audit.retries,
      `${faults.transient} calls failed, ${faults.paymentsRefused} found the payment API down`,
    ),
    fact('circuit opened', timesOpened, `${faults.outages} outage of the payment API`),
    fact('calls cut off', faults.cutOff, `by ${faults.kills} kill of a consumer`),
    fact('dead letters', audit.deadLetters, `${orders.poison} poison orders in ${serviceNames.length} services`),
    fact('effects', effects.happened, `${grouped(effects.expected)} expected`),
    [],
    [[table(['', 'deliveries', 'effects', 'lost', 'doubled', 'too late', 'dead']), 'dim']],
    ...serviceNames.map((name): Line => {
      const { deliveries, effects, lost, doubled, outOfOrder, deadLetters } = services[name]
      return [table([name, deliveries, effects, lost, doubled, outOfOrder, deadLetters])]
    }),
    [],
    ...audit.invariants.map(({ name, ok, found }): Line => [
      '  ',
      ok ? ['✓', 'green'] : ['✗', 'red', 'bold'],
      ok ? ` ${name}` : [` ${name}`, 'bold'],
      [`  ${found}`, ok ? 'dim' : 'red'],
    ]),
    [],
    audit.ok
      ? [['  All of it holds.', 'green', 'bold']]
      : [['  This shop cannot be trusted.', 'red', 'bold'], verdict(audit)],
    [],
  ]
}

function verdict({ money: { twiceCents, neverCents }, effects }: Audit): string {
  const counts = `${grouped(effects.lost)} effects lost, ${grouped(effects.doubled)} done twice`
  return ` ${counts}; ${euros(twiceCents)} charged twice, ${euros(neverCents)} never.`
}

export function printReport(lines: readonly Line[], stream: NodeJS.WriteStream): void {
  for (const line of lines) stream.write(`${print(line, Infinity, stream)}\n`)
}
