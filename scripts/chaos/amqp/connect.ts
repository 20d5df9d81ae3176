import rhea, { type Connection, type ConnectionOptions } from 'rhea'

/** A connection that comes back by itself, and notices within four seconds that the broker is silent. */
export function connectTo(url: string, id: string): Connection {
  const { hostname, port } = new URL(url)
  const options: Partial<ConnectionOptions> = {
    ...{ host: hostname, port: Number(port), username: 'holdfast', password: 'holdfast', idle_time_out: 4_000 },
    ...{ initial_reconnect_delay: 100, max_reconnect_delay: 1_000 },
  }
  const connection = rhea.create_container({ id }).connect(options as ConnectionOptions)
  for (const event of ['disconnected', 'connection_error', 'connection_close', 'error']) connection.on(event, () => {})
  return connection
}
