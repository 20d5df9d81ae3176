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

  it('what a listener throws never reaches a message; Node reports it as uncaught', async () => {
    // Vitest listens too, and would take the report for a failure of the test.
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const uncaught: unknown[] = []
    const note = (error: unknown): void => void uncaught.push(error)
    process.on('uncaughtException', note)
    onTestFinished(() => {
      process.off('uncaughtException', note)
      for (const each of others) process.on('uncaughtException', each)
    })
    const bug = new Error('a bug in a dashboard')
    onTestFinished(
      subscribe('settled', () => {
        throw bug
      }),
    )
    const after = watch('settled')
    expect(await dispatch('good')).toBe('handled')
    await new Promise((resolve) => setImmediate(resolve))
    expect(after).toHaveLength(1)
    expect(uncaught).toEqual([bug])
  })
})
