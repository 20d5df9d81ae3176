import { channel } from 'node:diagnostics_channel'
import { describe, expect, it, onTestFinished } from 'vitest'
import { emitter, subscribe, type Events } from '../../src/core/events.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { watch } from '../support/watch.ts'

const orders = pipeline<null>('orders').handle(({ message }) => {
  if (message.id === 'bad') throw new Error('refused')
})
const dispatch = (id: string) => orders.dispatch({ message: { id, body: null } })

describe('events', () => {
  it('say how each delivery ended', async () => {
    const settled = watch('settled')
    const nacked = watch('nacked')
    await dispatch('good')
    await dispatch('bad').catch(() => {})
    expect(settled).toMatchObject([{ outcome: 'handled', delivery: { message: { id: 'good' }, pipeline: 'orders' } }])
    expect(nacked).toMatchObject([{ error: { message: 'refused' }, delivery: { message: { id: 'bad' } } }])
  })

  it('are on diagnostics channels, for those who only know their names', async () => {
    const seen: unknown[] = []
    const listener = (event: unknown): void => void seen.push(event)
    channel('holdfast:settled').subscribe(listener)
    onTestFinished(() => void channel('holdfast:settled').unsubscribe(listener))
    await dispatch('good')
    expect(seen).toMatchObject([{ outcome: 'handled' }])
  })

  it('are not built where nobody listens, and end when the listener does', () => {
    const { active, publish } = emitter('discarded')
    expect(active()).toBe(false)
    const seen: Events['discarded'][] = []
    const end = subscribe('discarded', (event) => void seen.push(event))
    expect(active()).toBe(true)
    end()
    end()
    expect(active()).toBe(false)
    // @ts-expect-error no such event
    publish({})
    expect(seen).toEqual([])
  })

  it('what a listener throws never reaches a message and never ends the process: it becomes a warning, once', async () => {
    const warnings: Error[] = []
    const warned = (warning: Error): void => void warnings.push(warning)
    const uncaught: unknown[] = []
    const caught = (error: unknown): void => void uncaught.push(error)
    process.on('warning', warned).on('uncaughtException', caught).on('unhandledRejection', caught)
    const stops = [
      subscribe('settled', () => {
        throw new Error('a bug in a dashboard')
      }),
      subscribe('settled', () => Promise.reject(new Error('the log shipper is down')) as unknown as void),
    ]
    try {
      const after = watch('settled')
      expect(await dispatch('good')).toBe('handled')
      expect(await dispatch('good')).toBe('handled')
      await new Promise((resolve) => setImmediate(resolve))
      expect(after).toHaveLength(2)
      expect(uncaught).toEqual([])
      expect(warnings.map(({ name, message }) => `${name}: ${message}`)).toEqual([
        'HoldfastWarning: a listener of holdfast:settled threw Error: a bug in a dashboard',
        'HoldfastWarning: a listener of holdfast:settled threw Error: the log shipper is down',
      ])
    } finally {
      for (const stop of stops) stop()
      process.off('warning', warned).off('uncaughtException', caught).off('unhandledRejection', caught)
    }
  })
})
