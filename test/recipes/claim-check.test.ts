import { expect, it } from 'vitest'
import type { Decoder } from '../../src/core/codec.ts'
import { PermanentError, isRetryLater } from '../../src/core/errors.ts'
import { headerText, type Bytes } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { json } from '../../src/codecs/json.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { memoryOutbox, memoryOutboxStore } from '../../src/transports/memory/index.ts'
import { z } from 'zod'
import type { Outgoing } from '../../src/core/publisher.ts'

const Order = z.object({ lines: z.array(z.string()) })

/** An object store in memory, which can be down. */
function bucketOf() {
  const objects = new Map<string, Uint8Array>()
  const state = { down: false }
  const refuseIfDown = (): void => {
    if (state.down) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  }
  return {
    objects,
    state,
    put: async (name: string, body: Uint8Array) => {
      refuseIfDown()
      objects.set(name, body)
    },
    get: async (name: string) => {
      refuseIfDown()
      return objects.get(name) ?? null
    },
  }
}

it('the recipe of the claim check: small bodies travel, large ones by name, and each failure is told apart', async () => {
  const bucket = bucketOf()
  const store = memoryOutboxStore()
  const outbox = memoryOutbox({
    maxBytes: 200,
    async claimCheck({ id, body, headers }) {
      const name = `outbox/${id}`
      await bucket.put(name, body ?? new Uint8Array())
      return { body: new Uint8Array(), headers: { ...headers, 'claim-check': name } }
    },
  })
  function fetched<Body>(inner: Decoder<Body>): Decoder<Body> {
    return {
      name: `${inner.name}, fetched`,
      async decode(bytes: Bytes, headers, signal) {
        const name = headerText(headers, 'claim-check')
        if (name === undefined) return inner.decode(bytes, headers, signal)
        const body = await bucket.get(name)
        if (body === null) throw new PermanentError(`the body '${name}' is gone`)
        return inner.decode(body, headers, signal)
      },
    }
  }
  const [seen, dead]: [number[], Outgoing[]] = [[], []]
  const orders = pipeline('orders')
    .use(deadLetter({ to: { publish: async (messages) => void dead.push(...messages) } }))
    .decode(fetched(json(Order)))
    .handle(({ message }) => void seen.push(message.body.lines.length))

  const bodyOf = (lines: number) =>
    Buffer.from(JSON.stringify({ lines: Array.from({ length: lines }, () => 'espresso') }))
  const tx = store.begin()
  await outbox.add(tx, [
    { id: 'small', destination: 'orders', body: bodyOf(2) },
    { id: 'large', destination: 'orders', body: bodyOf(1000) },
    { id: 'gone', destination: 'orders', body: bodyOf(1000) },
  ])
  tx.commit()
  const sent: Outgoing[] = []
  const stop = new AbortController()
  const running = outboxRelay({
    store,
    publisher: { publish: async (messages) => void sent.push(...messages) },
  }).run(stop.signal)
  await expect.poll(() => sent.length).toBe(3)
  stop.abort()
  await running
  const message = (id: string) => sent.find((each) => each.id === id) as Outgoing
  expect(message('large').body?.byteLength).toBe(0)
  expect([...bucket.objects.keys()]).toEqual(['outbox/large', 'outbox/gone'])

  bucket.state.down = true
  const waits = await orders.dispatch({ message: message('large') }).catch((error: unknown) => error)
  expect(isRetryLater(waits) && waits.holds).toBe('pipeline')
  bucket.state.down = false
  bucket.objects.delete('outbox/gone')
  for (const id of ['small', 'large', 'gone']) await orders.dispatch({ message: message(id) })
  expect(seen).toEqual([2, 1000])
  expect(dead.map(({ id }) => id)).toEqual(['gone'])
  // A rollback of the writer leaves an object, as the recipe says, and no message.
  const undone = store.begin()
  await outbox.add(undone, { id: 'undone', destination: 'orders', body: bodyOf(1000) })
  undone.rollback()
  expect([bucket.objects.has('outbox/undone'), (await store.status()).pending]).toEqual([true, 0])
})
