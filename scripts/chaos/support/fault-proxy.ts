import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A TCP proxy on loopback that fails on demand. */
export interface FaultProxy {
  readonly port: number
  /** `host:port` of the proxy. */
  readonly address: string
  /** Resets every open connection; new ones are taken. */
  cut(): void
  /** Resets every open connection, and new ones as soon as they come, until `restore`. */
  refuse(): void
  /** Goes on as if nothing had happened; replies that were dropped stay lost. */
  restore(): void
  /** Holds what travels, both ways, for this long. */
  delay(ms: number): void
  /** Passes requests on and loses the answers, until `restore`. */
  dropReplies(): void
  /** Connections open now. */
  connections(): number
  dispose(): Promise<void>
}

/** A proxy in front of a server, given as a URL or as `host:port`. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port: targetPort } = new URL(target.includes('://') ? target : `tcp://${target}`)
  const sockets = new Set<Socket>()
  let mode: 'pass' | 'refuse' | 'drop-replies' = 'pass'
  let delayMs = 0

  const server = createServer((client) => {
    if (mode === 'refuse') {
      client.on('error', () => {}).resetAndDestroy()
      return
    }
    const upstream = connect(Number(targetPort), hostname)
    for (const socket of [client, upstream]) sockets.add(socket.setNoDelay())
    forward(client, upstream, () => true)
    forward(upstream, client, () => mode !== 'drop-replies')
  })

  /** One chunk after the other, so that a delay keeps their order. */
  function forward(from: Socket, to: Socket, passes: () => boolean): void {
    let last = Promise.resolve()
    from.on('data', (chunk) => {
      last = last.then(async () => {
        if (delayMs > 0) await sleep(delayMs)
        if (passes() && !to.destroyed) to.write(chunk)
      })
    })
    from.on('end', () => void last.then(() => to.end()))
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      void last.then(() => to.destroy())
    })
  }

  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy()
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    address: `127.0.0.1:${port}`,
    cut,
    refuse: () => {
      mode = 'refuse'
      cut()
    },
    restore: () => {
      mode = 'pass'
      delayMs = 0
    },
    delay: (ms) => {
      delayMs = ms
    },
    dropReplies: () => {
      mode = 'drop-replies'
    },
    connections: () => sockets.size / 2,
    dispose: async () => {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The same URL with the proxy in place of the server. */
export function through(proxy: FaultProxy, url: string): string {
  const changed = new URL(url)
  changed.host = proxy.address
  return changed.href
}
