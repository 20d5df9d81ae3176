import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as ours from '../../src/index.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { watch } from '../support/watch.ts'

const root = join(import.meta.dirname, '../..')

/** A second copy of the source, as a second installed version is: its classes and modules are other objects. */
describe('two installed copies', () => {
  let folder: string
  let theirs: typeof ours
  beforeAll(async () => {
    mkdirSync(join(root, '.services'), { recursive: true })
    folder = mkdtempSync(join(root, '.services/copy-'))
    cpSync(join(root, 'src'), folder, { recursive: true })
    theirs = (await import(join(folder, 'index.ts'))) as typeof ours
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('are two', () => {
    expect(theirs.HoldfastError).not.toBe(ours.HoldfastError)
    expect(new theirs.PermanentError('no')).not.toBeInstanceOf(ours.HoldfastError)
  })

  it('know the errors of each other', () => {
    expect(ours.isHoldfastError(new theirs.HoldfastError('stopped', 'x'))).toBe(true)
    expect(ours.isPermanent(new theirs.PermanentError('x'))).toBe(true)
    expect(ours.isRetryLater(new theirs.RetryLater(5))).toBe(true)
    expect(ours.isAbandoned(new theirs.AbandonedError('x', Promise.resolve()))).toBe(true)
    expect(ours.isPublishError(new theirs.PublishError('x', []))).toBe(true)
    const failure = { reason: 'permanent', errorName: 'E', errorMessage: 'x', attempts: 1 } as const
    expect(ours.isFailedBefore(new theirs.FailedBeforeError('x', failure))).toBe(true)
  })

  it('stages of one work in a pipeline of the other, and its order is checked', async () => {
    const letters: ours.Outgoing[] = []
    let runs = 0
    const step = ours
      .pipeline('orders')
      .use(theirs.deadLetter({ to: { publish: async (messages) => void letters.push(...messages) } }))
      .use(ours.idempotency({ store: memoryIdempotencyStore() }))
      .use(theirs.retry({ maxAttempts: 3, backoff: () => 0 }))
      .use(theirs.timeout({ afterMs: 1000 }))
      .handle(({ message }) => {
        runs++
        if (message.id === 'poison') throw new theirs.PermanentError('no')
        if (message.id === 'broken') throw new Error('no')
      })
    const dispatch = (id: string) => step.dispatch({ message: { id, body: null } })
    expect(await dispatch('m1')).toBe('handled')
    expect(await dispatch('m1')).toBe('duplicate')
    expect(await dispatch('poison')).toBe('dead-lettered')
    expect(await dispatch('broken')).toBe('dead-lettered')
    expect(await dispatch('broken')).toBe('dead-lettered')
    expect(runs).toBe(1 + 1 + 3)
    expect(() =>
      ours
        .pipeline('orders')
        .use(theirs.retry())
        .use(ours.idempotency({ store: memoryIdempotencyStore() }))
        .handle(() => {}),
    ).toThrow(/idempotency must (not stand inside|stand outside) retry/)
  })

  it('an abort goes through child signals of both', async () => {
    const stop = new AbortController()
    const started = Promise.withResolvers<void>()
    const step = ours
      .pipeline('orders')
      .use(ours.timeout({ afterMs: 60_000 }))
      .use(theirs.idempotency({ store: memoryIdempotencyStore() }))
    expect(() => step.handle(() => {})).toThrow(/must not stand inside timeout/)
    const fine = ours
      .pipeline('orders')
      .use(theirs.idempotency({ store: memoryIdempotencyStore() }))
      .use(ours.timeout({ afterMs: 60_000 }))
      .handle(async ({ signal }) => {
        started.resolve()
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped'))))
      })
    const running = fine.dispatch({ message: { id: 'm1', body: null }, signal: stop.signal })
    const rejected = expect(running).rejects.toThrow('stopped')
    await started.promise
    stop.abort()
    await rejected
  })

  it('share their channels: who watches one sees the other', async () => {
    const settled = watch('settled')
    await theirs
      .pipeline('others')
      .handle(() => {})
      .dispatch({ message: { id: 'm1', body: null } })
    expect(settled.map(({ delivery }) => delivery.pipeline)).toEqual(['others'])
  })
})
