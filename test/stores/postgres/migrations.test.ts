import { expect, it } from 'vitest'
import { migrations } from '../../../src/stores/postgres/migrations.ts'

it('each step of the schema has a number and a name of its own, and the numbers ascend', () => {
  const versions = migrations.map(({ version }) => version)
  expect(versions).toEqual([...new Set(versions)].toSorted((a, b) => a - b))
  expect(new Set(migrations.map(({ name }) => name)).size).toBe(migrations.length)
})
