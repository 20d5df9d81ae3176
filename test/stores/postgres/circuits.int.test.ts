import { describe, expect, it } from 'vitest'
import { circuitStatements } from '../../../src/stores/postgres/circuits/statements.ts'
import { postgresCircuits } from '../../../src/stores/postgres/index.ts'
import { pooledSchema } from '../../support/pooled-schema.ts'
import { describeWith } from '../../support/services.ts'
import { circuitsCases, runCircuitsCase } from '../circuits-cases.ts'

/** A statement of a busy server may take tens of ms. */
const pace = { openMs: 1_000, leaseMs: 2_000 }

describeWith(['postgres'], 'circuits in PostgreSQL', () => {
  const server = pooledSchema(['circuits'])
  const lose = async (circuit: string): Promise<void> => {
    const { pool, schema } = server()
    await pool.query(`delete from ${schema}.circuit where name = $1`, [circuit])
    await pool.query(`delete from ${schema}.circuit_voter where name = $1`, [circuit])
  }

  // Each has a circuit of its own, and waits for it most of the time.
  describe.concurrent.each(['alone', 'behind pgbouncer in transaction mode'])('%s', (how) => {
    for (const [n, each] of circuitsCases.entries())
      it(each.name, () => {
        const pool = how === 'alone' ? server().pool : server().pooled
        const circuits = postgresCircuits(pool, { schema: server().schema })
        return runCircuitsCase(each, { circuits, lose, pace }, `${how} ${n}`)
      })
  })

  /** The same statement with a rule left out: some case must see it. */
  it.concurrent.each<[string, string, string, RegExp]>([
    ['settling without the epoch', "s.state <> 'closed' and $5::bigint = s.epoch", "s.state <> 'closed'", /F-7/],
    ['no adoption of a higher epoch', '$5::bigint > s.epoch', 'false', /F-8/],
    ['granting twice in a window', "s.state = 'open' and s.until <= s.now", "s.state <> 'closed'", /one probe of many/],
    ['one process opens the fleet', '(v.open > 1 or v.works = 0)', 'true', /F-10/],
  ])('breaks where it is planted: %s', async (what, rule, instead, found) => {
    const { pool, schema } = server()
    const { exchangeSql } = circuitStatements(`"${schema}"`)
    const text = exchangeSql.replaceAll(rule, instead)
    expect(text).not.toBe(exchangeSql)
    const broken = {
      query: (statement: string, values: unknown[]) => pool.query(statement === exchangeSql ? text : statement, values),
    }
    const seen: string[] = []
    for (const each of circuitsCases.filter(({ name }) => found.test(name)))
      await runCircuitsCase(
        each,
        { circuits: postgresCircuits(broken, { schema }), lose, pace },
        `${what} ${each.name}`,
      ).catch(() => seen.push(each.name))
    expect(seen.join()).toMatch(found)
  })

  it('lists what is open, who probes, and how many processes say so', async () => {
    const circuits = postgresCircuits(server().pool, { schema: server().schema })
    const rules = { openAfter: 10, openMs: 60, maxOpenMs: 200, leaseMs: 5_000 }
    const sight = { vote: 'open', bad: 10, badAgeMs: 5, answerAgeMs: null } as const
    const known = { state: 'closed', epoch: 0, leftMs: 0 } as const
    const exchange = { owner: 'host:1', known, sight, rules }
    await circuits.exchange('listed', { do: 'report', ...exchange })
    await new Promise((resolve) => setTimeout(resolve, 80))
    await circuits.exchange('listed', { do: 'ask', ...exchange })
    const line = (await circuits.list?.())?.find(({ name }) => name === 'listed')
    expect(line).toMatchObject({ state: 'half-open', prober: 'host:1', processes: 1, openVotes: 1 })
    expect(line?.leftMs).toBeGreaterThan(1_000)
  })
})
