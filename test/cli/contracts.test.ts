import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { holdfast } from './support.ts'

const shop = `
import { contract, service } from '${resolve('src/contracts/index.ts')}'
import { z } from '${resolve('node_modules/zod/index.js')}'
export const OrderPlaced = contract('order.placed', {
  version: 1,
  schema: z.object({ id: z.string() }),
  owner: 'shop',
  why: 'A customer has ordered: the kitchen needs it.',
  examples: [{ id: 'o-1' }],
})
export default [
  service('shop', { owner: 'shop', does: 'Sells.', publishes: [OrderPlaced], consumes: [] }),
  service('kitchen', { owner: 'shop', does: 'Makes coffee.', publishes: [], consumes: [OrderPlaced] }),
]
`

describe('holdfast contracts', () => {
  let cwd = ''
  let file = 0
  beforeEach(() => {
    cwd = mkdtempSync(join(tmpdir(), 'holdfast-contracts-'))
  })
  afterEach(() => rmSync(cwd, { recursive: true }))

  /** Each text has a file of its own: a module is read once in a process. */
  function from(text: string): string {
    const name = `contracts-${file++}.ts`
    writeFileSync(join(cwd, name), text)
    return name
  }

  it('writes the documents, and then has nothing to say', async () => {
    const name = from(shop)
    const written = await holdfast(`contracts write --from ${name}`, { cwd })
    expect(written).toMatchObject({ exit: 0, err: '' })
    expect(written.out.trim().split('\n')).toHaveLength(5)
    const read = (each: string): unknown => JSON.parse(readFileSync(join(cwd, 'docs/events', each), 'utf8'))
    expect(read('asyncapi.shop.json')).toMatchObject({ asyncapi: '3.0.0', info: { title: 'shop' } })
    expect(read('contracts.lock.json')).toMatchObject({
      'order.placed': { compatibility: 'full', versions: { 1: {} } },
    })
    expect(readFileSync(join(cwd, 'docs/events/graph.md'), 'utf8')).toContain('|"order.placed"|')
    const checked = await holdfast(`contracts check --from ${name}`, { cwd })
    expect(checked).toMatchObject({ exit: 0, out: '1 contracts of 2 services: nothing to say\n' })
  })

  it('exits with 1 for a change that others cannot read, and names the place', async () => {
    await holdfast(`contracts write --from ${from(shop)}`, { cwd })
    const changed = from(
      shop
        .replace('id: z.string()', 'id: z.string(), cups: z.int()')
        .replace("{ id: 'o-1' }", "{ id: 'o-1', cups: 1 }"),
    )
    const { exit, out } = await holdfast(`contracts check --from ${changed}`, { cwd })
    expect(exit).toBe(1)
    expect(out).toContain('order.placed@1  backward: /cups must be there, and is not sent')
    const lines = (await holdfast(`contracts check --json --from ${changed}`, { cwd })).out.trim().split('\n')
    expect(lines.map((line) => JSON.parse(line) as unknown)).toContainEqual(
      expect.objectContaining({ at: 'order.placed@1', rule: 'backward', level: 'error', sure: true }),
    )
  })

  it('prints the graph', async () => {
    const { out } = await holdfast(`contracts graph --from ${from(shop)}`, { cwd })
    expect(out).toMatch(/^flowchart LR\n/)
  })

  it.each([
    ['contracts check --from missing.ts', 'there is no missing.ts'],
    ['contracts check --form x', 'contracts check has no --form; did you mean --from?'],
  ])('answers %s with one line', async (line, said) => {
    expect(await holdfast(line, { cwd })).toMatchObject({ exit: 2, err: `holdfast: ${said}\n` })
  })

  it.each([
    ['export const x = 1', 'exports no service()'],
    ['throw new Error("no database here")', 'no database here'],
  ])('answers a file with %s with one line', async (text, said) => {
    const { exit, err } = await holdfast(`contracts check --from ${from(text)}`, { cwd })
    expect([exit, err.trim().split('\n').length]).toEqual([2, 1])
    expect(err).toContain(said)
  })

  it('says so where the lock file is damaged, and leaves it', async () => {
    const name = from(shop)
    await holdfast(`contracts write --from ${name}`, { cwd })
    const lock = join(cwd, 'docs/events/contracts.lock.json')
    writeFileSync(lock, '<<<<<<< HEAD')
    for (const verb of ['check', 'write']) {
      const { exit, err } = await holdfast(`contracts ${verb} --from ${name}`, { cwd })
      expect([exit, err]).toEqual([2, expect.stringContaining('is no JSON')])
    }
    expect(readFileSync(lock, 'utf8')).toBe('<<<<<<< HEAD')
    expect(existsSync(join(cwd, 'docs/events/graph.md'))).toBe(true)
  })
})
