import type { ISocketFactory } from 'kafkajs'
import { connect, type Socket } from 'node:net'

/** Sockets of one kafkajs client that can be cut and kept cut, as by a network that is down. */
export function mortalSockets(): { readonly factory: ISocketFactory; down(): void; up(): void } {
  const sockets = new Set<Socket>()
  let dead = false
  return {
    factory({ host, port, onConnect }) {
      const socket = connect({ host, port }, onConnect)
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      if (dead) socket.destroy(new Error('the network is down'))
      return socket
    },
    down() {
      dead = true
      // kafkajs does not listen for `close`: only an error tells it.
      for (const socket of sockets) socket.destroy(new Error('the network is down'))
    },
    up() {
      dead = false
    },
  }
}
