import { describe, expect, it } from 'vitest'
import type { Limits } from '../../../src/retry/store.ts'
import { postgresLimits } from '../../../src/stores/postgres/index.ts'
import { limitStatements } from '../../../src/stores/postgres/limits/statements.ts'
import { pooledSchema } from '../../support/pooled-schema.ts'
import { describeWith } from '../../support/services.ts'
import { placesCases, runPlacesCase } from '../places-cases.ts'
import { ratesCases } from '../rates-cases.ts'

/** A statement of a busy server may take tens of ms. */
const leaseMs = 600

describeWith(['postgres'], 'limits in PostgreSQL', () => {
  const server = pooledSchema(['limits'])

  describe.each(['alone', 'behind pgbouncer in transaction mode'])('%s', (how) => {
    const open = (): Limits =>
      postgresLimits(how === 'alone' ? server().pool : server().pooled, { schema: server().schema })
    for (const { name, run } of ratesCases) it(name, () => run(open(), `${how} ${name}`, open))
    for (const each of placesCases) it(each.name, () => runPlacesCase(each, open(), `${how} ${each.name}`, leaseMs))
  })

  it('says which tables are missing', async () => {
    const limits = postgresLimits(server().pool, { schema: 'nowhere' })
    await expect(limits.take('x', { count: 1, perSecond: 1, burst: 1, aheadMs: 0, earned: 0 })).rejects.toThrow(
      /postgresLimits: .*run migrate\(pool\)/,
    )
  })

  /** The same statement with a rule left out: some case must see it. */
  it.each<[string, string, string, RegExp]>([
    ['running work not counted', 'least(greatest(a.granted, $3::int), a.free)', 'a.granted', /what still runs/],
    ['no share', 'coalesce((select share from fair where owner = $2::text), $4::int)', '$4::int', /fair share/],
    ['no rotation', '+ floor(t.now / $6::float8)::bigint)', ')', /goes round/],
    ['lapsed lines kept', '(l.line ->> 2)::float8 > t.now', 'true', /dead process/],
  ])('F-11: breaks where it is planted: %s', async (what, rule, instead, found) => {
    const { pool, schema } = server()
    const { holdSql } = limitStatements(`"${schema}"`)
    const text = holdSql.replaceAll(rule, () => instead)
    expect(text).not.toBe(holdSql)
    const broken = {
      query: (statement: string, values: unknown[]) => pool.query(statement === holdSql ? text : statement, values),
    }
    const seen: string[] = []
    for (const each of placesCases.filter(({ name }) => found.test(name)))
      await runPlacesCase(each, postgresLimits(broken, { schema }), `${what} ${each.name}`, leaseMs).catch(() =>
        seen.push(each.name),
      )
    expect(seen.join()).toMatch(found)
  })
})
