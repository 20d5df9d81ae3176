import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { long } from './long-first.ts'

it('names files that are there', () => {
  expect(long.filter((name) => !existsSync(join(import.meta.dirname, `../${name}.test.ts`)))).toEqual([])
})
