import { z } from 'zod'

/** What a till asks for. */
export const Command = z.object({
  card: z.string(),
  does: z.enum(['top-up', 'pay']),
  cents: z.number().int().positive(),
})
export type Command = z.infer<typeof Command>

/** What happened to a gift card. It is never changed and never deleted. */
export interface CardEvent {
  readonly type: 'topped-up' | 'paid' | 'payment-refused'
  readonly cents: number
}

export interface Card {
  readonly cents: number
}

export const emptyCard: Card = { cents: 0 }

/** The state is what the events say. */
export function evolve(card: Card, { type, cents }: CardEvent): Card {
  if (type === 'topped-up') return { cents: card.cents + cents }
  return type === 'paid' ? { cents: card.cents - cents } : card
}

/** The rule: nobody pays more than is on the card. It knows no database and no broker. */
export function decide({ does, cents }: Command, card: Card): CardEvent {
  if (does === 'top-up') return { type: 'topped-up', cents }
  return { type: card.cents >= cents ? 'paid' : 'payment-refused', cents }
}
