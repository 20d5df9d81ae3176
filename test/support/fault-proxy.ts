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
  /** Half-open: connections stay, and nothing travels either way. Those of now are cut by `restore`. */
  silence(): void
  /** Loses the answer to the next request that matches, and the connection with it. */
  loseReply(to: (request: Buffer) => boolean): void
  /** New connections go there, as if a name had moved; those of now are cut. */
  retarget(target: string): void
  /** What was really done so far. */
  readonly counts: Readonly<FaultCounts>
  /** Connections open now. */
  connections(): number
  dispose(): Promise<void>
}

export interface FaultCounts {
  /** Connections that were reset. */
  cut: number
  /** Connections that were not let in. */
  refused: number
  /** Pieces that were held up. */
  delayed: number
  /** Pieces that never arrived, by `dropReplies` and `silence`. */
  swallowed: number
  /** Answers lost by `loseReply`. */
  lostReplies: number
}

/** A proxy in front of a server, given as a URL or as `host:port`. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  let address = addressOf(target)
  const sockets = new Set<Socket>()
  const counts: FaultCounts = { cut: 0, refused: 0, delayed: 0, swallowed: 0, lostReplies: 0 }
  let mode: 'pass' | 'refuse' | 'drop-replies' | 'silence' = 'pass'
  let delayMs = 0
  let losing: ((request: Buffer) => boolean) | undefined

  const server = createServer((client) => {
    if (mode === 'refuse') {
      counts.refused++
      client.on('error', () => {}).resetAndDestroy()
      return
    }
    const upstream = connect(address.port, address.hostname)
    for (const socket of [client, upstream]) sockets.add(socket.setNoDelay())
    let doomed = false
    forward(client, upstream, (request) => {
      if (losing?.(request) === true) {
        losing = undefined
        doomed = true
      }
      return mode !== 'silence'
    })
    forward(upstream, client, () => {
      if (doomed) {
        counts.lostReplies++
        for (const socket of [client, upstream]) socket.resetAndDestroy()
      }
      return !doomed && mode !== 'drop-replies' && mode !== 'silence'
    })
  })

  /** One chunk after the other, so that a delay keeps their order. */
  function forward(from: Socket, to: Socket, passes: (chunk: Buffer) => boolean): void {
    let last = Promise.resolve()
    from.on('data', (chunk: Buffer) => {
      // From its arrival: a delay is no bandwidth.
      const dueMs = performance.now() + delayMs
      if (delayMs > 0) counts.delayed++
      last = last.then(async () => {
        const waitMs = dueMs - performance.now()
        if (delayMs > 0 && waitMs > 0) await sleep(waitMs)
        if (to.destroyed) return
        if (passes(chunk)) to.write(chunk)
        else counts.swallowed++
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
    counts.cut += sockets.size / 2
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
      // What was swallowed is missing: such a connection would go on with half of what was said.
      if (mode === 'silence') cut()
      mode = 'pass'
      delayMs = 0
    },
    delay: (ms) => {
      delayMs = ms
    },
    dropReplies: () => {
      mode = 'drop-replies'
    },
    silence: () => {
      mode = 'silence'
    },
    loseReply: (to) => {
      losing = to
    },
    retarget: (to) => {
      address = addressOf(to)
      cut()
    },
    counts,
    connections: () => sockets.size / 2,
    dispose: async () => {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function addressOf(target: string): { readonly hostname: string; readonly port: number } {
  const { hostname, port } = new URL(target.includes('://') ? target : `tcp://${target}`)
  return { hostname, port: Number(port) }
}

/** The same URL with the proxy in place of the server. */
export function through(proxy: FaultProxy, url: string): string {
  const changed = new URL(url)
  changed.host = proxy.address
  return changed.href
}
