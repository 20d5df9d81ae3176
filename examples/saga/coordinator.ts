import type pg from 'pg'
import type { Step, topics } from './messages.ts'

export type State = 'taking-stock' | 'paying' | 'done' | 'called-off'

export const deadlineMs = 2_000

export interface CoordinatorOptions {
  readonly schema: string
  /** `false`: the saga moves from any state, to see what the audit says. */
  readonly guarded: boolean
}

type Steps<Name extends keyof typeof topics> = Readonly<
  Record<(typeof topics)[Name][number], (step: Step) => Promise<unknown>>
>

/** The order's saga: one row, and a handler for each thing that can happen. */
export function coordinator({ schema, guarded }: CoordinatorOptions): Steps<'coordinator'> {
  /** The only place where a saga moves: from a state that it may be in, or not at all. */
  async function move(tx: pg.PoolClient, order: string, from: readonly State[], to: State): Promise<boolean> {
    const update = `update ${schema}.saga set state = $2 where order_id = $1 and (state = any($3) or not $4)`
    const { rowCount } = await tx.query(update, [order, to, from, guarded])
    return rowCount === 1
  }

  return {
    async 'order.placed'({ tx, order, tell }) {
      await tx.query(`insert into ${schema}.saga values ($1, 'taking-stock')`, [order])
      await tell('stock.take')
      await tell('deadline.reached', deadlineMs)
    },
    async 'stock.taken'({ tx, order, tell }) {
      // The news may come after the deadline: then the beans go back.
      if (await move(tx, order, ['taking-stock'], 'paying')) await tell('card.charge')
      else await tell('stock.return')
    },
    async 'card.charged'({ tx, order, tell }) {
      if (!(await move(tx, order, ['paying'], 'done'))) await tell('card.refund')
    },
    async 'card.refused'({ tx, order, tell }) {
      if (await move(tx, order, ['paying'], 'called-off')) await tell('stock.return')
    },
    async 'deadline.reached'({ tx, order, tell }) {
      if (await move(tx, order, ['paying'], 'called-off')) return tell('stock.return')
      // Nothing was taken yet that could be returned. A saga that is over stays as it is.
      return move(tx, order, ['taking-stock'], 'called-off')
    },
  }
}

/** The warehouse. Some of its answers are late. */
export function stock({ schema, lateMs }: { readonly schema: string; readonly lateMs: LateMs }): Steps<'stock'> {
  const add = async (tx: pg.PoolClient, order: string, bags: number) => {
    await tx.query(`update ${schema}.shelf set bags = bags + $1`, [bags])
    await tx.query(`insert into ${schema}.movement values ($1, $2)`, [order, bags])
  }
  return {
    async 'stock.take'({ tx, order, tell }) {
      await add(tx, order, -1)
      await tell('stock.taken', lateMs('stock', order))
    },
    'stock.return': ({ tx, order }) => add(tx, order, 1),
  }
}

/** The payment provider. It refuses some cards, and some of its answers are late. */
export function payment({ schema, lateMs }: { readonly schema: string; readonly lateMs: LateMs }): Steps<'payment'> {
  const book = async (tx: pg.PoolClient, order: string, cents: number) => {
    await tx.query(`insert into ${schema}.payment values ($1, $2)`, [order, cents])
  }
  return {
    async 'card.charge'({ tx, order, tell }) {
      if (kindOf(order) === 1) return tell('card.refused')
      await book(tx, order, 390)
      return tell('card.charged', lateMs('payment', order))
    },
    'card.refund': ({ tx, order }) => book(tx, order, -390),
  }
}

export type LateMs = (service: 'stock' | 'payment', order: string) => number | undefined

/** Of ten orders one card is refused, one payment is late, and one answer of the warehouse. */
export const lateMs: LateMs = (service, order) =>
  kindOf(order) === (service === 'payment' ? 2 : 3) ? deadlineMs + 500 : undefined

function kindOf(order: string): number {
  return Number(order.replace('order-', '')) % 10
}
