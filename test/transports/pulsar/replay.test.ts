import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pulsarPosition, pulsarReplay, type PulsarClient } from 'holdfast/pulsar'
import { afterEach, describe, expect, it } from 'vitest'
import { staged, type Middleware } from '../../../src/core/delivery.ts'
import { pipeline } from '../../../src/core/pipeline.ts'

const remembering = pipeline('orders')
  .use(staged<Middleware>((next) => next, { name: 'idempotency', facts: { store: 'postgresql', retainMs: 1e15 } }))
  .handle(() => {})

/** The names alone: a dry run moves nothing. */
const client: PulsarClient = {
  connectionFor: () => Promise.reject(new Error('not asked in a dry run')),
  partitionsOf: () => Promise.resolve(0),
  close() {},
}

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

interface Topic {
  readonly ledgers: readonly { readonly ledgerId: number; readonly entries: number | null }[]
  readonly lastConfirmedEntry: string
  readonly mark: string
}

/** A web service that knows one topic and its subscription `billing`. */
async function webOf({ ledgers, lastConfirmedEntry, mark }: Topic, seen: string[] = []): Promise<string> {
  const answers: Readonly<Record<string, unknown>> = {
    stats: { subscriptions: { billing: { consumers: [] } } },
    internalStats: { ledgers, lastConfirmedEntry, cursors: { billing: { markDeletePosition: mark } } },
  }
  const server = createServer((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization}`)
    const answer = answers[request.url?.split('/').at(-1) ?? '']
    response.statusCode = answer === undefined ? 404 : 200
    response.end(JSON.stringify(answer ?? {}))
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const counted = (webUrl: string, from: Date | Record<string, number>, token?: () => string) =>
  pulsarReplay({
    ...{ client, webUrl, subscription: 'billing', topics: ['orders'], pipeline: remembering, from },
    ...{ scope: 'same', dryRun: true },
    ...(token === undefined ? {} : { token }),
  })

describe('the positions of a replay of Pulsar', () => {
  const ledgers = [
    { ledgerId: 3, entries: 5 },
    { ledgerId: 7, entries: 0 },
    { ledgerId: 9, entries: null },
  ]

  it('are numbers in the order of ledgers and entries', () => {
    const places = [pulsarPosition(3, 0), pulsarPosition(3, 4), pulsarPosition(4, 0), pulsarPosition(120, 7)]
    expect(places).toEqual([30_000_000, 30_000_004, 40_000_000, 1_200_000_007])
  })

  it('go over the ends of ledgers, and over those that are empty', async () => {
    const topic = { ledgers, lastConfirmedEntry: '9:3', mark: '3:4' }
    const { partitions } = await counted(await webOf(topic), new Date(0))
    expect(partitions).toMatchObject([
      { name: 'orders', from: pulsarPosition(3, 0), stood: pulsarPosition(9, 0), messages: 5 },
    ])
    const all = await counted(await webOf({ ...topic, mark: '9:3' }), { orders: pulsarPosition(3, 3) })
    expect(all.partitions).toMatchObject([{ stood: pulsarPosition(9, 4), messages: 6 }])
  })

  it('begin at what is left of a topic, and say what is gone', async () => {
    const topic = { ledgers, lastConfirmedEntry: '9:3', mark: '9:1' }
    const { messages, warnings } = await counted(await webOf(topic), { orders: pulsarPosition(1, 2) })
    expect(messages).toBe(7)
    expect(warnings.join()).toContain(`the log begins at ${pulsarPosition(3, 0)}`)
  })

  it('refuse a ledger that is too large to be counted', async () => {
    const topic = { ledgers: [{ ledgerId: 3, entries: 20_000_000 }], lastConfirmedEntry: '4:-1', mark: '3:7' }
    await expect(counted(await webOf(topic), new Date(0))).rejects.toThrow(/ledger 3 of orders is too large/)
  })

  it('are asked for with the token of that moment', async () => {
    const seen: string[] = []
    const topic = { ledgers, lastConfirmedEntry: '9:3', mark: '9:3' }
    await counted(await webOf(topic, seen), new Date(0), () => 'secret')
    expect(seen.length).toBeGreaterThan(0)
    expect(seen.every((line) => line.endsWith(' Bearer secret'))).toBe(true)
    expect(seen[0]).toContain('/admin/v2/persistent/public/default/orders/')
  })
})
