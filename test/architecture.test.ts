import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { spawnChild } from './support/child.ts'
import { findCycle, importsOf, reachable, sourceFiles, type Import } from './support/imports.ts'

const SRC = join(import.meta.dirname, '../src')

const FEATURES = ['idempotency', 'retry', 'dead-letter', 'ordering', 'outbox']

const WITH_PORTS = [...FEATURES, 'operations']

/** What a room may import besides itself. `port` is the `store.ts` of any feature, and of the operator's side. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  // The files of the root put the rooms together.
  face: ['core', 'codecs', 'logs', 'port', ...FEATURES],
  core: [],
  codecs: ['core'],
  ...Object.fromEntries(FEATURES.map((feature) => [feature, ['core']])),
  logs: ['core'],
  flow: ['core'],
  encryption: ['core'],
  contracts: ['core', 'codecs'],
  nest: ['core'],
  fastify: ['core'],
  tracing: ['core'],
  metrics: ['core'],
  consumer: ['core'],
  stores: ['core', 'port'],
  transports: ['core', 'consumer', 'port'],
  // The simulation runs the consumer that ships.
  testing: ['core', 'port', 'consumer'],
  vitest: ['testing'],
  operations: ['core', 'port'],
  dashboard: ['core', 'port', 'operations'],
  cli: ['core', 'port', 'operations', 'dashboard', 'contracts', 'dead-letter', 'stores/postgres'],
}

/**
 * What one adapter may import beyond its kind.
 * PostgreSQL's outbox is `outbox()` with its inserts; the memory entry publishes the memory stores, each in its feature's room.
 */
const EXTRAS: Readonly<Record<string, readonly string[]>> = {
  // Its dead letters are those that `deadLetter()` writes.
  'stores/postgres': ['outbox', 'dead-letter'],
  // The catalogue is a page: it escapes as the operator's page does.
  contracts: ['dashboard'],
  // It mounts the operator's page, and opens transactions as `transaction()` does.
  fastify: ['dashboard', 'stores/postgres'],
  // Its entry publishes `sequence()`, which reads what a relay writes.
  outbox: ['ordering'],
  'transports/memory': ['idempotency', 'dead-letter', 'ordering', 'outbox'],
}

/** Packages by the room that may import them. All but those of `AT_RUN_TIME` are for their types alone. */
const VENDORS: Readonly<Record<string, readonly string[]>> = {
  retry: ['cockatiel'],
  tracing: ['@opentelemetry/api'],
  metrics: ['prom-client'],
  'stores/postgres': ['pg'],
  'stores/redis': ['ioredis'],
  'transports/kafkajs': ['kafkajs'],
  'transports/platformatic-kafka': ['@platformatic/kafka'],
  'transports/jetstream': ['@nats-io/transport-node', '@nats-io/jetstream', '@nats-io/kv'],
  'transports/rabbitmq': ['amqplib'],
  'transports/amqp': ['rhea'],
  vitest: ['vitest'],
  nest: ['@nestjs/common', '@nestjs/core'],
  fastify: ['fastify'],
  cli: ['pg'],
}
// The adapter of `@platformatic/kafka` runs on the client's protocol layer, which is functions and classes. NATS' client
// takes headers only as an object of its own making. Nest finds its modules and its logger by their classes.
const AT_RUN_TIME = [
  '@nestjs/common',
  '@nestjs/core',
  'cockatiel',
  '@opentelemetry/api',
  'prom-client',
  '@platformatic/kafka',
  '@nats-io/transport-node',
]
/** Unavoidable at run time too, but only when it is reached: the entry is imported without it. */
const WHEN_REACHED = ['pg', 'kafkajs']

function roomOf(file: string): string {
  const [first = '', second = ''] = file.split('/')
  if (!file.includes('/')) return 'face'
  // A file right in `stores` or `transports` is shared by the adapters beside it.
  return ['stores', 'transports'].includes(first) && !second.endsWith('.ts') ? `${first}/${second}` : first
}

function mayImport({ from, to }: Import): boolean {
  const [own, other] = [roomOf(from), roomOf(to)]
  if (own === other) return true
  const [kind = ''] = own.split('/')
  const allowed = [kind, ...(ROOMS[kind] ?? []), ...(EXTRAS[own] ?? [])]
  return allowed.includes(other) || (allowed.includes('port') && WITH_PORTS.includes(other) && to.endsWith('/store.ts'))
}

function mayImportPackage({ from, to, typeOnly, dynamic }: Import): boolean {
  const allowed = typeOnly || AT_RUN_TIME.includes(to) || (dynamic && WHEN_REACHED.includes(to))
  return allowed && (VENDORS[roomOf(from)] ?? []).includes(to)
}

/** Every breach of the table, in words. */
function breaches(root: string): string[] {
  const files = sourceFiles(root)
  const imports = files.flatMap((file) => importsOf(root, file))
  const cycle = findCycle(files, imports)
  const said = imports
    .filter((one) => (one.kind === 'file' && !mayImport(one)) || (one.kind === 'package' && !mayImportPackage(one)))
    .map(({ from, to, typeOnly }) => `${from} imports ${typeOnly ? 'types of ' : ''}${to}`)
  const root_ = new Set(reachable('index.ts', imports))
  const vendors = imports
    .filter(({ from, to, kind }) => root_.has(from) && kind === 'package' && to !== 'cockatiel')
    .map(({ from, to }) => `the root entry reaches ${to} through ${from}`)
  const unknown = files
    .filter((file) => !roomOf(file).includes('/') && !(roomOf(file) in ROOMS))
    .map((file) => `${file} is in no known room`)
  return [...said, ...vendors, ...unknown, ...(cycle === undefined ? [] : [`a cycle: ${cycle.join(' → ')}`])]
}

describe('the import table', () => {
  it('holds for the source: no cycles, no vendor outside its room', () => {
    expect(breaches(SRC)).toEqual([])
  })

  const folder = mkdtempSync(join(tmpdir(), 'holdfast-imports-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  function breachesOf(files: Readonly<Record<string, string>>): string[] {
    const root = mkdtempSync(join(folder, 'src-'))
    for (const [file, text] of Object.entries({ 'index.ts': '', ...files })) {
      mkdirSync(dirname(join(root, file)), { recursive: true })
      writeFileSync(join(root, file), text)
    }
    return breaches(root)
  }

  it.each([
    ['a feature importing another', { 'retry/a.ts': "import type { A } from '../outbox/b.ts'", 'outbox/b.ts': '' }],
    [
      'an adapter importing another',
      { 'stores/redis/a.ts': "import { a } from '../postgres/b.ts'", 'stores/postgres/b.ts': '' },
    ],
    [
      'an adapter importing a feature beyond its port',
      { 'stores/redis/a.ts': "import { a } from '../../retry/b.ts'", 'retry/b.ts': '' },
    ],
    ['the core importing a feature', { 'core/pipeline.ts': "export * from '../retry/b.ts'", 'retry/b.ts': '' }],
    [
      'a cycle of types',
      { 'core/a.ts': "import type { B } from './b.ts'", 'core/b.ts': "import { type A } from './a.ts'" },
    ],
    ['a vendor outside its room', { 'retry/a.ts': "import { trace } from '@opentelemetry/api'" }],
    ['a vendor imported at run time', { 'stores/postgres/a.ts': "import { Pool } from 'pg'" }],
    ['a dynamic import', { 'stores/redis/a.ts': "export const a = () => import('ioredis')" }],
    [
      'a vendor behind the root entry',
      { 'index.ts': "export * from './tracing/a.ts'", 'tracing/a.ts': "import '@opentelemetry/api'" },
    ],
    ['a room that nobody knows', { 'helpers/a.ts': '' }],
  ])('catches %s', (_, files) => {
    expect(breachesOf(files)).not.toEqual([])
  })

  it('allows what the table allows', () => {
    const files = {
      'index.ts': "export * from './retry/a.ts'",
      'retry/a.ts': "import { handleAll } from 'cockatiel'\nimport { x } from '../core/errors.ts'",
      'core/errors.ts': "import { createHash } from 'node:crypto'",
      'stores/postgres/a.ts': "import type { Pool } from 'pg'\nimport type { Store } from '../../idempotency/store.ts'",
      'idempotency/store.ts': "import type { Delivery } from '../core/delivery.ts'",
      'core/delivery.ts': '',
    }
    expect(breachesOf(files)).toEqual([])
  })
})

describe('importing the source', () => {
  it('reads no environment, sets no timer and leaves nothing open', async () => {
    const child = spawnChild('test/support/fixtures/import-all.ts', { args: [SRC, ...sourceFiles(SRC)] })
    await expect(child.exited).resolves.toEqual({ code: 0, signal: null })
    expect(child.lines).toEqual([`imported ${sourceFiles(SRC).length}`])
  })

  it('notices a module that does any of these', async () => {
    const child = spawnChild('test/support/fixtures/import-all.ts', {
      args: [import.meta.dirname, 'support/fixtures/busy.ts'],
    })
    await child.exited
    expect(child.lines.map((line) => line.split(' at ')[0])).toEqual([
      'reads env.HOME',
      'calls setTimeout',
      'left open: Timeout',
      'imported 1',
    ])
  })
})
