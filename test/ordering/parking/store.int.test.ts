import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { it } from 'vitest'
import { postgresIdempotencyStore, postgresjsRunner, preparedRunner } from '../../../src/stores/postgres/index.ts'
import { parkingStoreContract } from '../../../src/testing/contracts/parking-store-contract.ts'
import { describeWith, postgres18Url } from '../../support/services.ts'
import { suiteSchema } from '../../support/suite-schema.ts'

const advance = (ms: number) => sleep(ms)
const nothing = async () => {}

describeWith(['postgres'], 'the parking store contract, in PostgreSQL', () => {
  const emptied = suiteSchema({ max: 8 })
  const create = async () => {
    const { pool, schema } = await emptied()
    return { store: postgresIdempotencyStore(pool, { schema }), advance, dispose: nothing }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describeWith(['postgres18'], 'the parking store contract, in PostgreSQL 18', () => {
  const emptied = suiteSchema({ connectionString: postgres18Url(), max: 8 })
  const create = async () => {
    const { pool, schema } = await emptied()
    return { store: postgresIdempotencyStore(pool, { schema }), advance, dispose: nothing }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'the parking store contract, in PostgreSQL through prepared statements', () => {
  const emptied = suiteSchema({ max: 8 })
  const create = async () => {
    const { pool, schema } = await emptied()
    const store = postgresIdempotencyStore(preparedRunner(pool), { schema, inside: true })
    return { store, advance, dispose: nothing }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'the parking store contract, in PostgreSQL through postgres.js', () => {
  const emptied = suiteSchema({ max: 2 })
  const create = async () => {
    const { schema, url } = await emptied()
    const sql = postgres(url, { max: 4, fetch_types: false, transform: postgres.camel, onnotice: () => {} })
    const store = postgresIdempotencyStore(postgresjsRunner(sql), { schema })
    return { store, advance, dispose: () => sql.end({ timeout: 0 }) }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})
