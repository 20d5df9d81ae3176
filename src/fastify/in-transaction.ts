import { HoldfastError } from '../core/errors.ts'
import { callback, checkArgument, having } from '../core/options.ts'
import type { PoolClientSlice, PoolSlice } from '../stores/postgres/queryable.ts'
import { beginOn } from '../stores/postgres/transaction.ts'

/** What is used of a reply of Fastify. */
export interface ReplySlice {
  readonly statusCode: number
  send(payload?: never): unknown
}

/**
 * Makes a handler of Fastify whose `tx` is a transaction of its own. It commits before the answer is sent, also if the
 * handler calls `reply.send()`. It rolls back if the handler throws, and if the answer's status is 400 or above.
 * @throws HoldfastError `commit-refused` when the handler ignored a failed statement; `session-lost` when the session ended
 * before COMMIT; else what the handler or the database threw. Fastify answers each with an error.
 */
export function inTransaction<Client extends PoolClientSlice, Request = unknown, Reply extends ReplySlice = ReplySlice>(
  pool: PoolSlice<Client>,
  handler: (request: Request, reply: Reply, tx: Client) => Promise<unknown>,
): (request: Request, reply: Reply) => Promise<unknown> {
  checkArgument('inTransaction', 'pool', pool, having('connect'))
  checkArgument('inTransaction', 'handler', handler, callback)
  const begin = beginOn(pool)

  return async function handleInTransaction(request, reply) {
    const answer = new Answer<Reply>(reply)
    try {
      await begin(async (tx) => {
        answer.returned = await handler(request, answer.reply, tx)
        if (answer.payload instanceof Error) throw answer.payload
        if (reply.statusCode >= 400) throw refusal
      })
    } catch (error) {
      if (error !== refusal) throw error
    } finally {
      answer.over = true
    }
    return answer.payload
  }
}

/** Rolls back, and is answered with what the handler said. */
const refusal = new Error('the answer has a status of 400 or above')

/** Keeps what the handler sends until the transaction is over. */
class Answer<Reply extends ReplySlice> {
  readonly reply: Reply
  returned: unknown
  over = false
  #sent: { readonly payload: unknown } | undefined

  constructor(reply: Reply) {
    const send = (payload: unknown): Reply => {
      if (this.over) reply.send(payload as never)
      else this.#sent ??= { payload }
      return this.reply
    }
    // A proxy, since most methods of a reply return `this`: `reply.code(201).send(order)` must end here too.
    this.reply = new Proxy(reply, {
      get(target, name, receiver) {
        if (name === 'send') return send
        if (name === 'hijack') return refuseHijack
        // A reply is a promise of its own end, for which the transaction cannot wait.
        if (name === 'then') return undefined
        return Reflect.get(target, name, receiver) as unknown
      },
    })
  }

  get payload(): unknown {
    if (this.#sent !== undefined) return this.#sent.payload
    return this.returned === this.reply ? undefined : this.returned
  }
}

function refuseHijack(): never {
  throw new HoldfastError('bad-order', 'inTransaction: a hijacked reply would be sent before the transaction commits')
}
