import { euros, type Audit } from './audit.ts'
import { serviceNames } from './plan.ts'
import { grouped, print, wrapped, type Line, type Piece } from './terminal.ts'

/** The audit for people, with lines of at most so many columns where that can be. */
export function reportOf(audit: Audit, timesOpened: number, columns: number): Line[] {
  const { orders, effects, faults, services } = audit
  const room = columns >= 80
  const fact = (name: string, count: number, note: string): Line => [
    `  ${name.padEnd(22)}${grouped(count).padStart(8)}`,
    [room ? `   ${note}` : '', 'dim'],
  ]
  const row = (name: string, cells: readonly (string | number)[]) => {
    const texts = cells.map((cell) => (typeof cell === 'number' ? grouped(cell) : cell))
    return `  ${name.padEnd(10)}${texts.map((text) => text.padStart(room ? 11 : 8)).join('')}`
  }
  const headings = room
    ? ['deliveries', 'effects', 'lost', 'doubled', 'too late', 'dead']
    : ['deliv.', 'effects', 'lost', 'twice', 'late', 'dead']
  const failedCalls = `${grouped(faults.transient)} calls failed, ${grouped(faults.paymentsRefused)} found the payment API down`
  return [
    [],
    [['  The audit', 'bold']],
    [],
    fact('orders', orders.placed, `by ${orders.customers} customers, ${orders.poison} of them poison`),
    fact('messages', orders.published, `${grouped(orders.sentAgain)} orders were sent twice`),
    fact('deliveries', audit.deliveries, `to ${serviceNames.length} services`),
    fact('duplicates suppressed', audit.duplicatesSuppressed, 'known, and not handled again'),
    fact('retries', audit.retries, failedCalls),
    fact('circuit opened', timesOpened, `${faults.outages} outage of the payment API`),
    fact('calls cut off', faults.cutOff, `by ${faults.kills} kill of a consumer`),
    fact('dead letters', audit.deadLetters, `${orders.poison} poison orders, ${serviceNames.length} services`),
    fact('effects', effects.happened, `${grouped(effects.expected)} expected`),
    [],
    [[row('', headings), 'dim']],
    ...serviceNames.map((name): Line => {
      const { deliveries, effects, lost, doubled, outOfOrder, deadLetters } = services[name]
      return [row(name, [deliveries, effects, lost, doubled, outOfOrder, deadLetters])]
    }),
    [],
    ...audit.invariants.flatMap(({ name, ok, found }): Line[] => {
      const mark: Piece = ok ? ['✓', 'green'] : ['✗', 'red', 'bold']
      const weight = (text: string): Piece => (ok ? text : [text, 'bold'])
      const shade = (text: string): Piece => [text, ok ? 'dim' : 'red']
      if (name.length + found.length + 7 < columns) return [['  ', mark, weight(` ${name}`), shade(`  ${found}`)]]
      const [first = '', ...more] = wrapped(name, columns - 5)
      return [
        ['  ', mark, weight(` ${first}`)],
        ...more.map((line): Line => [weight(`    ${line}`)]),
        ...wrapped(found, columns - 5).map((line): Line => [shade(`    ${line}`)]),
      ]
    }),
    [],
    audit.ok ? [['  All of it holds.', 'green', 'bold']] : [['  This shop cannot be trusted.', 'red', 'bold']],
    ...(audit.ok ? [] : wrapped(verdict(audit), columns - 3).map((line): Line => [`  ${line}`])),
    [],
  ]
}

function verdict({ money: { twiceCents, neverCents }, effects }: Audit): string {
  const counts = `${grouped(effects.lost)} effects lost, ${grouped(effects.doubled)} done twice`
  return `${counts}; ${euros(twiceCents)} charged twice, ${euros(neverCents)} never.`
}

export function printReport(lines: readonly Line[], stream: NodeJS.WriteStream): void {
  for (const line of lines) stream.write(`${print(line, Infinity, stream)}\n`)
}
