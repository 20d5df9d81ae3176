/* eslint-disable @typescript-eslint/no-unused-vars -- the values are only there for their types */
import { cloudEvents, encodeCloudEvents, type CloudEvent } from '../../src/codecs/cloudevents.ts'
import type { Consumer, EachMessageHandler } from 'kafkajs'
import type { Pool, PoolClient } from 'pg'
import type { Registry } from 'prom-client'
import * as v from 'valibot'
import { z } from 'zod'
import {
  deadLetter,
  encode,
  idempotency,
  isRetryLater,
  json,
  on,
  PermanentError,
  pipeline,
  publisher,
  resilient,
  retry,
  route,
  timeout,
  type Bytes,
  type Claimed,
  type Delivery,
  type IdempotencyStore,
  type Middleware,
  type Outcome,
  type Pipeline,
  type Publisher,
  type Step,
} from '../../src/index.ts'
import { circuitBreaker } from '../../src/retry/index.ts'
import { bulkhead, otherwise, recovery, when } from '../../src/retry/index.ts'
import { metrics } from '../../src/metrics/index.ts'
import { transaction } from '../../src/stores/postgres/index.ts'
import { tracedPublish, tracing } from '../../src/tracing/index.ts'
import { eachMessage } from '../../src/transports/kafkajs/index.ts'

// Each block is one thing that the types promise.

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function check<_T extends true>(): void
declare const pool: Pool
declare const store: IdempotencyStore
declare const deadLetters: Publisher
declare const consumer: Consumer
declare const registry: Registry
interface User {
  readonly name: string
}
declare function loadUser(id: string): Promise<User>
const Order = z.object({ orderId: z.string(), cents: z.number() })
type Order = z.infer<typeof Order>

// 1. The whole chain infers: the body from the schema, tx from the caller's own client, the fence from idempotency().
const orders = pipeline('billing.orders')
  .use(tracing())
  .use(metrics({ registry }))
  .use(deadLetter({ to: deadLetters }))
  .decode(json(Order))
  .use(idempotency({ store, key: ({ message }) => message.id }))
  .use(retry({ maxAttempts: 5 }))
  .use(circuitBreaker({ name: 'payment-api' }))
  .use(bulkhead({ maxConcurrent: 10 }))
  .use(timeout({ afterMs: 10_000 }))
  .use(transaction(pool))
  .handle(async ({ message, tx, fence, signal, attempt, bytes }) => {
    check<Equal<typeof message.body, Order>>()
    check<Equal<typeof tx, PoolClient>>()
    check<Equal<typeof fence, bigint>>()
    check<Equal<typeof signal, AbortSignal>>()
    check<Equal<typeof attempt, number>>()
    check<Equal<typeof bytes, Bytes>>()
    await tx.query('insert into charges values ($1)', [message.body.cents])
  })
check<Equal<typeof orders, Pipeline>>()

// 2. Any Standard Schema goes through the one codec; a tombstone is null.
pipeline('x')
  .decode(json(v.object({ a: v.string() })))
  .handle(({ message }) => {
    check<Equal<typeof message.body, { a: string }>>()
  })
pipeline('x')
  .decode(json(Order.nullable()))
  .handle(({ message }) => {
    check<Equal<typeof message.body, Order | null>>()
  })
pipeline('x')
  .decode(cloudEvents(json(Order)))
  .handle(({ message }) => {
    check<Equal<typeof message.body, CloudEvent<Order>>>()
  })

// 3. A user's middleware may be annotated, a bare generic function or inline, and may widen the delivery.
const log: Middleware = (next) => async (delivery) => {
  const outcome = await next(delivery)
  check<Equal<typeof outcome, Outcome>>()
  return outcome
}
const user: Middleware<{ readonly user: User }> = (next) => async (delivery) =>
  next({ ...delivery, user: await loadUser(delivery.message.id) })
const bare =
  <D extends Delivery>(next: Step<D & { readonly user: User }>): Step<D> =>
  async (delivery) =>
    next({ ...delivery, user: await loadUser('a') })
pipeline<Order>('x')
  .use(log)
  .use(user)
  .use((next) => (delivery) => {
    check<Equal<typeof delivery.message.body, Order>>()
    check<Equal<typeof delivery.user, User>>()
    return next(delivery)
  })
  .handle((delivery) => {
    check<Equal<typeof delivery.user, User>>()
    check<Equal<typeof delivery.message.body, Order>>()
  })
pipeline<Order>('x')
  .use(bare)
  .handle((delivery) => {
    check<Equal<typeof delivery.user, User>>()
    check<Equal<typeof delivery.message.body, Order>>()
  })
pipeline<Order>('x')
  .use<{ readonly user: User }>((next) => (delivery) => next({ ...delivery, user: { name: 'a' } }))
  .handle((delivery) => {
    check<Equal<typeof delivery.user, User>>()
  })

// 3b. One constant serves pipelines of different bodies.
const shared = retry({ maxAttempts: 3 })
pipeline<Order>('a')
  .use(shared)
  .handle(({ message }) => {
    check<Equal<typeof message.body, Order>>()
  })
pipeline<number>('b')
  .use(shared)
  .handle(({ message }) => {
    check<Equal<typeof message.body, number>>()
  })

// 3c. A middleware that says it widens must do so, and none may swap the delivery for another one.
// @ts-expect-error user was not added
const forgot: Middleware<{ readonly user: User }> = (next) => (delivery) => next(delivery)
declare const another: Delivery
// @ts-expect-error not the delivery it was given
const swap: Middleware = (next) => () => next(another)

// 4. Needing tx is refused outside the middleware that adds it, and works inside.
const audit: Middleware<unknown, Delivery & { readonly tx: PoolClient }> = (next) => async (delivery) => {
  await delivery.tx.query('insert into audit values ($1)', [delivery.message.id])
  return next(delivery)
}
pipeline<Order>('x')
  .use(transaction(pool))
  .use(audit)
  .handle(({ tx, message }) => {
    check<Equal<typeof tx, PoolClient>>()
    check<Equal<typeof message.body, Order>>()
  })
// @ts-expect-error there is no tx yet
pipeline<Order>('x').use(audit).use(transaction(pool))

// 4b. A middleware for one kind of body is refused where the body is another.
const onlyPaid: Middleware<unknown, Delivery<Order>> = (next) => (delivery) =>
  delivery.message.body.cents > 0 ? next(delivery) : Promise.resolve('discarded')
pipeline<Order>('x')
  .use(onlyPaid)
  .handle(() => {})
// @ts-expect-error a number is no Order
pipeline<number>('x').use(onlyPaid)

// 5. Decoding happens once, where the body is bytes, and the dead letter stays outside it.
// @ts-expect-error decoded already
pipeline('x').decode(json(Order)).decode(json(Order))
pipeline('x')
  .decode(json(Order))
  // @ts-expect-error it would have to serialise the body anew
  .use(deadLetter({ to: deadLetters }))
// @ts-expect-error a pipeline of bodies that nobody decodes has no place on Kafka
eachMessage(pipeline<Order>('x').handle(() => {}))

// 6. One changed line in a kafkajs service.
const handler: EachMessageHandler = eachMessage(orders)
void consumer.run({ eachMessage: eachMessage(orders) })

// 7. No transport at all: BullMQ, SQS, HTTP, Nest.
const jobs = pipeline<Order>('jobs')
  .use(retry())
  .handle(({ message }) => void message.body.cents)
export const bullmq = (job: { id: string; data: Order; attemptsMade: number }): Promise<Outcome> =>
  jobs.dispatch({ message: { id: job.id, body: job.data }, attempt: job.attemptsMade + 1, raw: job })
export const webhook = async (request: Request): Promise<Response> => {
  try {
    const id = request.headers.get('x-event-id') ?? crypto.randomUUID()
    const outcome = await orders.dispatch({ message: { id, body: await request.bytes() }, signal: request.signal })
    return Response.json({ outcome })
  } catch (error) {
    const headers = isRetryLater(error) ? { 'retry-after': String(Math.ceil(error.afterMs / 1000)) } : {}
    return new Response(null, { status: 503, headers })
  }
}
// @ts-expect-error the body must be given
void jobs.dispatch({ message: { id: '1' } })
// @ts-expect-error of the right type
void jobs.dispatch({ message: { id: '1', body: 5 } })

// 8. A batch has the deliveries as they are here, and answers with those that failed.
pipeline('x')
  .decode(json(Order))
  .use(idempotency({ store }))
  .handleBatch({ maxSize: 100 }, (deliveries) => {
    check<Equal<(typeof deliveries)[number]['message']['body'], Order>>()
    const [first] = deliveries
    if (first !== undefined) check<Equal<typeof first.fence, bigint>>()
    const negative = deliveries.filter(({ message }) => message.body.cents < 0)
    return Promise.resolve(negative.map((delivery) => ({ delivery, error: new PermanentError('negative') })))
  })

// 9. The publish side has the same shape; encoding is one more wrap.
const placed: Publisher<Order> = publisher(deadLetters)
  .use(tracedPublish())
  .use(encode(json(Order)))
const asEvents: Publisher<Order> = publisher(deadLetters).use(encodeCloudEvents(json(Order), { source: '/shop' }))
// @ts-expect-error a text is no Order
void placed.publish([{ id: '1', type: 't', key: null, headers: {}, body: 'x', timeMs: 0, destination: 'orders' }])

// 10. resilient() goes on as a builder, so what is added inside stays typed.
const built = resilient('billing.orders', { codec: json(Order), deadLetters, store })
  .use(transaction(pool))
  .use(audit)
  .handle(({ message, tx, fence }) => {
    check<Equal<typeof message.body, Order>>()
    check<Equal<typeof tx, PoolClient>>()
    check<Equal<typeof fence, bigint>>()
  })
check<Equal<typeof built, Pipeline>>()

// 11. Completing the claim inside the transaction needs no wiring, with idempotency() and without.
pipeline('x')
  .use(transaction(pool))
  .handle(() => {})
pipeline('x')
  .use(idempotency({ store }))
  .use(transaction(pool))
  .handle((delivery) => {
    const claimed: Claimed = delivery
  })

// 12. A key from the body is typed by where it stands.
pipeline('x')
  .decode(json(Order))
  .use(idempotency({ store, key: ({ message }: Delivery<Order>) => message.body.orderId }))
// @ts-expect-error outside the decoder there is no orderId
pipeline('x').use(idempotency({ store, key: ({ message }: Delivery<Order>) => message.body.orderId }))

// A recovery table knows the error of each row from its class or its guard.
class RateLimited extends Error {
  readonly retryAfterMs = 5
}
interface SqlError extends Error {
  readonly severity: string
}
declare function isSqlError(error: unknown): error is SqlError
const table = recovery(
  when(RateLimited).after((error) => {
    check<Equal<typeof error, RateLimited>>()
    return error.retryAfterMs
  }),
  when(isSqlError).after((error, message) => {
    check<Equal<typeof error, SqlError>>()
    return message.timeMs
  }),
  when((error) => String(error).includes('x')).after((error) => {
    check<Equal<typeof error, unknown>>()
    return 5
  }),
  otherwise.deadLetter(),
)
retry({ recovery: table })
// @ts-expect-error an error of this class has no such property
when(RateLimited).after(({ retryAfterSeconds }) => 5)
// @ts-expect-error not a reason that anybody reads
otherwise.deadLetter('because')

// One call through a circuit answers with what the call answers.
const payments = circuitBreaker({ name: 'payment-api' })
const charged = payments.run((signal) => Promise.resolve(signal.aborted ? 0 : 5))
check<Equal<typeof charged, Promise<number>>>()
// @ts-expect-error the state is for looking at
payments.state = 'closed'

// A route types each handler by its codec.
pipeline('x').handle(
  route({
    'order.placed': on(json(Order), ({ message }) => {
      check<Equal<typeof message.body, Order>>()
    }),
  }),
)
