import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { json } from '../../src/codecs/json.ts'
import { failureFrom } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { retry } from '../../src/retry/retry.ts'
import { on, route, type RouteOptions } from '../../src/codecs/route.ts'
import type { Delivery } from '../../src/core/delivery.ts'
import type { Bytes } from '../../src/core/message.ts'

const Placed = z.object({ orderId: z.string() })
const Cancelled = z.object({ reason: z.string() })

function orders(options?: RouteOptions<Delivery<Bytes>>) {
  const log: string[] = []
  const built = pipeline('orders')
    .use(retry({ maxAttempts: 1 }))
    .handle(
      route(
        {
          'order.placed': on(json(Placed), ({ message }) => void log.push(`placed ${message.body.orderId}`)),
          'order.cancelled': on(json(Cancelled), ({ message }) => void log.push(`cancelled ${message.body.reason}`)),
        },
        options,
      ),
    )
  const dispatch = (type: string, body: unknown) =>
    built.dispatch({ message: { id: 'm1', type, body: Buffer.from(JSON.stringify(body)) } })
  return { log, dispatch }
}

describe('route()', () => {
  it('handles each type with its own codec and handler', async () => {
    const { log, dispatch } = orders()
    expect(await dispatch('order.placed', { orderId: 'o1' })).toBe('handled')
    expect(await dispatch('order.cancelled', { reason: 'late' })).toBe('handled')
    expect(log).toEqual(['placed o1', 'cancelled late'])
  })

  it('takes a type that it does not name for undecodable, for good', async () => {
    const { dispatch } = orders()
    for (const type of ['order.shipped', '__proto__', 'constructor', '']) {
      const error: unknown = await dispatch(type, {}).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'permanent', message: `no route for the type '${type}'` })
      expect(failureFrom(error, 'm1', 0)).toMatchObject({ reason: 'undecodable', attempts: 1 })
    }
  })

  it('hands the others to a handler of their own where there is one', async () => {
    const others: string[] = []
    const { dispatch } = orders({ otherwise: ({ message }) => void others.push(message.type) })
    expect(await dispatch('order.shipped', {})).toBe('handled')
    expect(others).toEqual(['order.shipped'])
  })

  it('bytes that do not fit their type are undecodable', async () => {
    const { dispatch, log } = orders()
    const error: unknown = await dispatch('order.placed', { orderId: 5 }).catch((thrown: unknown) => thrown)
    expect(failureFrom(error, 'm1', 0)).toMatchObject({ reason: 'undecodable' })
    expect(log).toEqual([])
  })
})
