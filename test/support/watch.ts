import { onTestFinished } from 'vitest'
import { subscribe, type EventName, type Events } from '../../src/core/events.ts'

/** Every event of that name until the test ends. */
export function watch<Name extends EventName>(name: Name): readonly Events[Name][] {
  const seen: Events[Name][] = []
  onTestFinished(subscribe(name, (event) => void seen.push(event)))
  return seen
}

/** Rejections that nobody handled. Look at it after some turns of the event loop: that is when Node reports them. */
export function watchUnhandled(): readonly unknown[] {
  const seen: unknown[] = []
  const listener = (reason: unknown): void => void seen.push(reason)
  process.on('unhandledRejection', listener)
  onTestFinished(() => void process.off('unhandledRejection', listener))
  return seen
}

/** What a promise has come to so far. */
export interface Watched<T> {
  readonly state: 'pending' | 'fulfilled' | 'rejected'
  readonly value?: T
  readonly error?: unknown
}

/** A promise whose state can be looked at without waiting for it. */
export function watched<T>(promise: Promise<T>): { readonly now: Watched<T> } {
  const holder: { now: Watched<T> } = { now: { state: 'pending' } }
  promise.then(
    (value) => (holder.now = { state: 'fulfilled', value }),
    (error: unknown) => (holder.now = { state: 'rejected', error }),
  )
  return holder
}
