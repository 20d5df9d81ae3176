import middy from '@middy/core'
import { Hono } from 'hono'
import { pipeline, type Middleware } from 'holdfast'
import compose from 'koa-compose'
import type { Comparison, Contender } from '../measure.ts'
import { deliveries } from '../messages.ts'

const layers = 7

/** Seven middlewares that do nothing but call the next one. */
export function middlewareArea(): Comparison[] {
  const ours = holdfast()
  const shared = { area: 'pipeline', name: 'seven user middlewares', ours }
  return [
    { ...shared, beside: koa(), target: { speed: 1.15 } },
    { ...shared, beside: hono(), target: { speed: 2.3 } },
    { ...shared, beside: middyBeside(), target: null },
  ]
}

function holdfast(): Contender {
  const pass: Middleware = (next) => async (delivery) => {
    const outcome = await next(delivery)
    return outcome
  }
  let built = pipeline('bench')
  for (let layer = 0; layer < layers; layer++) built = built.use(pass)
  const { step } = built.handle(async () => {})
  const delivery = deliveries()()
  return {
    name: 'holdfast',
    async run(times) {
      for (let n = 0; n < times; n++) await step(delivery)
    },
  }
}

function koa(): Contender {
  const pass = async (_: object, next: () => Promise<unknown>): Promise<void> => {
    await next()
  }
  const run = compose<object>([...Array.from({ length: layers }, () => pass), async () => {}])
  const delivery = deliveries()()
  return {
    name: 'koa-compose',
    async run(times) {
      for (let n = 0; n < times; n++) await run(delivery)
    },
  }
}

/** hono's own composition, through its public face: the request is built once and routed each time. */
function hono(): Contender {
  const app = new Hono()
  for (let layer = 0; layer < layers; layer++)
    app.use(async (_, next) => {
      await next()
    })
  app.get('/', (context) => context.body(null))
  const request = new Request('http://localhost/')
  return {
    name: 'hono',
    async run(times) {
      for (let n = 0; n < times; n++) await app.fetch(request)
    },
  }
}

function middyBeside(): Contender {
  const handler = middy().handler(async () => {})
  for (let layer = 0; layer < layers; layer++) handler.use({ before: async () => {}, after: async () => {} })
  const context = { getRemainingTimeInMillis: () => 1000 } as never
  const delivery = deliveries()()
  return {
    name: 'middy',
    async run(times) {
      for (let n = 0; n < times; n++) await handler(delivery, context)
    },
  }
}
