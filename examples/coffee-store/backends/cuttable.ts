import { connect as connectSocket, createServer, type AddressInfo, type Socket } from 'node:net'

/** A way to a server that can be cut from one moment to the next, as the end of a process does. */
export interface Cuttable {
  /** The server's address, by this way. */
  readonly url: string
  cut(): void
  close(): void
}

export async function cuttable(server: URL, defaultPort: number): Promise<Cuttable> {
  const sockets = new Set<Socket>()
  let isCut = false
  const between = createServer((client) => {
    if (isCut) return void client.destroy()
    const upstream = connectSocket({ host: server.hostname, port: Number(server.port || defaultPort) })
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => {}))
    client.pipe(upstream).pipe(client)
    client.once('close', () => upstream.destroy())
    upstream.once('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve))
  const through = new URL(server)
  through.host = `127.0.0.1:${(between.address() as AddressInfo).port}`
  const cut = (): void => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: through.href,
    cut,
    close() {
      cut()
      between.close()
    },
  }
}
