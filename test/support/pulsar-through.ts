import { systemClock } from '../../src/core/clock.ts'
import { fullName, type PulsarClient } from '../../src/transports/pulsar/client.ts'
import { Connection } from '../../src/transports/pulsar/protocol/connection.ts'

/** A client that finds its broker behind a proxy (`host:port`): a lookup names the broker's own address. */
export function pulsarThrough(address: string, { keepAliveMs = 10_000, requestMs = 5_000 } = {}): PulsarClient {
  const { hostname: host, port } = new URL(`tcp://${address}`)
  const settings = { host, port: Number(port), tls: undefined, auth: undefined, keepAliveMs, requestMs }
  let connection: Connection | undefined
  let isClosed = false
  async function connected(): Promise<Connection> {
    if (isClosed) throw new Error('the client was closed')
    if (connection === undefined || connection.error !== undefined)
      connection = new Connection({ ...settings, clock: systemClock })
    await connection.ready
    return connection
  }
  return {
    async connectionFor(topic) {
      const found = await connected()
      await found.request('lookup', { topic: fullName(topic) })
      return found
    },
    partitionsOf: () => connected().then(() => 0),
    close() {
      isClosed = true
      connection?.close()
    },
  }
}
