import { deadLetter, idempotency, json, pipeline, retry, type Pipeline, type Publisher } from 'holdfast'
import { idFrom } from 'holdfast/flow'
import { postgresIdempotencyStore, postgresOutbox, transaction } from 'holdfast/postgres'
import type pg from 'pg'
import { z } from 'zod'
import { Command, decide, emptyCard, evolve } from './card.ts'
import { eventStore } from './event-store.ts'

export interface Ground {
  readonly schema: string
  /** One connection for each handler that runs. */
  readonly pool: pg.Pool
  readonly claims: pg.Pool
  readonly deadLetters: Publisher
  /** `false` leaves out the idempotency, to see what the audit says. */
  readonly claimed: boolean
}

export const eventsTopic = 'card-events'

/** The commands. Load, append, project and publish commit together with the claim of the message: all of it, or nothing. */
export function cards({ schema, pool, claims, deadLetters, claimed }: Ground): Pipeline {
  const events = eventStore(schema)
  const outbox = postgresOutbox({ schema })
  const project = `insert into ${schema}.card_view as v values ($1, $2, $3)
    on conflict (card) do update set cents = excluded.cents, events = excluded.events`
  const store = postgresIdempotencyStore(claims, { schema })
  const stack = pipeline('cards')
    .use(deadLetter({ to: deadLetters, destination: 'dead' }))
    .decode(json(Command))
  return (claimed ? stack.use(idempotency({ store })) : stack)
    .use(retry({ maxAttempts: 5 }))
    .use(transaction(pool))
    .handle(async (delivery) => {
      const { tx, message } = delivery
      const { card } = message.body
      const { version, events: past } = await events.load(tx, card)
      const before = past.reduce(evolve, emptyCard)
      const event = decide(message.body, before)
      await events.append(tx, card, version, [event])
      await tx.query(project, [card, evolve(before, event).cents, version + 1])
      await outbox.add(tx, {
        ...{ destination: eventsTopic, key: card, type: `card.${event.type}` },
        ...{ id: claimed ? idFrom(delivery, 'event') : crypto.randomUUID(), body: Buffer.from(JSON.stringify(event)) },
      })
    })
}

const Event = z.object({ type: z.string(), cents: z.number().int() })

/** Another read model, maybe of another service: it reads the topic, and nobody polls the table of events. */
export function takings({ schema, pool, claims, deadLetters, claimed }: Ground): Pipeline {
  const add = `insert into ${schema}.takings as t values (current_date, $1, 1)
    on conflict (day) do update set cents = t.cents + excluded.cents, payments = t.payments + 1`
  const store = postgresIdempotencyStore(claims, { schema })
  const stack = pipeline('takings')
    .use(deadLetter({ to: deadLetters, destination: 'dead' }))
    .decode(json(Event))
  return (claimed ? stack.use(idempotency({ store })) : stack)
    .use(retry({ maxAttempts: 5 }))
    .use(transaction(pool))
    .handle(async ({ tx, message: { body } }) => {
      if (body.type === 'paid') await tx.query(add, [body.cents])
    })
}
