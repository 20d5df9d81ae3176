import { Connection } from '@platformatic/kafka'

/** Put as `context` into a client's options: its connections go to this port of loopback, wherever the brokers say they are. */
export class LedThrough {
  readonly port: number

  constructor(port: number) {
    this.port = port
  }
}

// The brokers name their own addresses, and the client has no option that leads a connection elsewhere.
const { connect } = Connection.prototype
Connection.prototype.connect = function (host, port, callback) {
  const { context } = this
  if (context instanceof LedThrough) return connect.call(this, '127.0.0.1', context.port, callback)
  return connect.call(this, host, port, callback)
}
