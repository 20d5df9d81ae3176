import { readFileSync } from 'node:fs'
import { createServer as createTcp, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { createServer as createTls, type TlsOptions } from 'node:tls'
import type { Arrived, Command, CommandName } from '../../../src/transports/pulsar/protocol/commands.ts'
import { commandFrame, FrameCutter, parseFrame } from '../../../src/transports/pulsar/protocol/frames.ts'

export interface FakeBroker {
  readonly port: number
  /** `pulsar://`, or `pulsar+ssl://`. */
  readonly url: string
  /** All commands of all connections. */
  readonly seen: Arrived[]
  readonly sockets: ReadonlySet<Socket>
  /** To every connection. */
  send<N extends CommandName>(name: N, value: Command<N>): void
  of<N extends CommandName>(name: N): readonly Command<N>[]
  close(): void
}

export interface Reply {
  <N extends CommandName>(name: N, value: Command<N>): void
  readonly socket: Socket
}

/** Answers a command in its own way, or says that it does not. `rest` is what follows the command: of a send, the message. */
export type Script = (command: Arrived, reply: Reply, broker: FakeBroker, rest: Buffer) => boolean | void

/** A server that speaks the protocol, and has one topic that stores nothing. What the script answers is its own. */
export async function fakeBroker(script: Script = () => false, tls?: TlsOptions): Promise<FakeBroker> {
  const sockets = new Set<Socket>()
  const seen: Arrived[] = []
  const serve = (socket: Socket): void => {
    sockets.add(socket)
    const cutter = new FrameCutter()
    const reply = Object.assign(
      <N extends CommandName>(name: N, value: Command<N>) => void socket.write(commandFrame(name, value)),
      { socket },
    )
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    const read = (bytes: Buffer): void => {
      for (const frame of cutter.frames(bytes)) {
        const command = parseFrame(frame)
        if (command === undefined) continue
        seen.push(command)
        const rest = frame.subarray(4 + frame.readUInt32BE(0))
        if (script(command, reply, broker, rest) !== true) standard(command, reply, broker)
      }
    }
    socket.on('data', (bytes) => {
      try {
        read(bytes)
      } catch {
        socket.destroy()
      }
    })
  }
  const server = tls === undefined ? createTcp(serve) : createTls(tls, serve)
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const broker: FakeBroker = {
    ...{ port, url: `pulsar${tls === undefined ? '' : '+ssl'}://127.0.0.1:${port}`, seen, sockets },
    send: (name, value) => {
      for (const socket of sockets) socket.write(commandFrame(name, value))
    },
    of: <N extends CommandName>(name: N) =>
      seen.flatMap((command) => (command.name === name ? [command.value as Command<N>] : [])),
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
  return broker
}

const connectTo = 1

function standard(command: Arrived, reply: Reply, { url }: FakeBroker): void {
  const { name, value } = command
  const requestId = 'requestId' in value ? value.requestId : undefined
  if (name === 'connect') reply('connected', { serverVersion: 'fake', protocolVersion: 19 })
  else if (name === 'ping') reply('pong', {})
  else if (name === 'partitions') reply('partitionsAnswer', { requestId, partitions: 0, response: 0 })
  else if (name === 'lookup') reply('lookupAnswer', { requestId, response: connectTo, url, tlsUrl: url })
  else if (name === 'producer')
    reply('producerSuccess', { requestId, producerName: value.producerName, lastSequenceId: -1, isReady: true })
  else if (name === 'send') {
    const { producerId, sequenceId } = value
    reply('sendReceipt', { producerId, sequenceId, messageId: { ledgerId: 1, entryId: sequenceId } })
  } else if (name === 'ack') reply('ackAnswer', { requestId, consumerId: value.consumerId })
  else if (requestId !== undefined) reply('success', { requestId })
}

/** A delivery, with a message as it was sent. */
export function deliveryFrame(value: Command<'message'>, message: Buffer): Buffer {
  const frame = Buffer.concat([commandFrame('message', value), message])
  frame.writeUInt32BE(frame.length - 4, 0)
  return frame
}

/** A key and certificates of a test authority: `broker` is for this machine, `elsewhere` is not, `expired` was. */
export function pem(name: 'ca' | 'other-ca' | 'broker' | 'broker-key' | 'elsewhere' | 'expired'): string {
  return readFileSync(join(import.meta.dirname, `../../support/fixtures/tls/${name}.pem`), 'utf8')
}
