import { connect as connectPlain, type Socket } from 'node:net'
import { connect, type ConnectionOptions } from 'node:tls'

const waitMs = 5000

/** When the certificate of `host:port` ends, or of `postgres://host:port`, where PostgreSQL is asked for TLS first. */
export async function certificateEnd(server: string): Promise<number> {
  const postgres = /^postgres(?:ql)?:\/\//.test(server)
  const { hostname: host, port } = new URL(postgres ? server : `tls://${server}`)
  const at = { host, port: Number(port === '' ? (postgres ? 5432 : 443) : port) }
  const socket = postgres ? await askedForTls(at) : undefined
  // A certificate that has ended, or is of nobody we trust, is to be looked at too.
  return endOf({ ...at, servername: host, rejectUnauthorized: false, ...(socket !== undefined && { socket }) })
}

function endOf(options: ConnectionOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(options, () => {
      const { valid_to: end } = socket.getPeerCertificate()
      resolve(Date.parse(end))
      socket.destroy()
    })
    limited(socket, reject)
  })
}

/** However the connection ends, the question has an answer. */
function limited(socket: Socket, reject: (error: Error) => void): void {
  socket.setTimeout(waitMs, () => socket.destroy(new Error(`no answer within ${waitMs} ms`)))
  socket.on('error', reject)
  socket.on('close', () => reject(new Error('the server closed the connection')))
}

// SSLRequest of PostgreSQL's protocol: length 8, code 80877103. The answer is one byte: S for yes.
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])

function askedForTls(at: { readonly host: string; readonly port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectPlain(at, () => socket.write(sslRequest))
    limited(socket, reject)
    socket.once('data', (answer) => {
      if (answer.toString('latin1', 0, 1) === 'S') resolve(socket)
      else socket.destroy(new Error('the server has no TLS'))
    })
  })
}
