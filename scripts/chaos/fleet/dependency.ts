import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Probe {
  readonly atMs: number
  readonly id: string
  /** Of a probe that the fleet granted; `null` where a process probed for itself. */
  readonly epoch: string | null
}

/** One dependency of all processes, over HTTP, which can be down and counts who calls it. */
export interface FleetDependency {
  readonly url: string
  /** Down: answers 503. A probe hangs for so long before that. */
  down: boolean
  hangMs: number
  readonly calls: { up: number; down: number }
  readonly probes: Probe[]
  /** Told of a probe as soon as it arrives. */
  onProbe: (probe: Probe) => void
  close(): Promise<void>
}

export async function fleetDependency(): Promise<FleetDependency> {
  const server = createServer((request, response) => {
    const about = new URL(request.url ?? '/', 'http://localhost').searchParams
    self.calls[self.down ? 'down' : 'up']++
    const isProbe = about.get('state') === 'half-open'
    const probe = {
      atMs: performance.now(),
      id: about.get('id') ?? '',
      epoch: about.get('scope') === 'fleet' ? about.get('epoch') : null,
    }
    if (isProbe && self.down) {
      self.probes.push(probe)
      self.onProbe(probe)
    }
    const answer = (): void => {
      response.statusCode = self.down ? 503 : 200
      response.end()
    }
    setTimeout(answer, self.down ? (isProbe ? self.hangMs : 0) : 5 + Math.random() * 10)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const self: FleetDependency = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...{ down: false, hangMs: 0, calls: { up: 0, down: 0 }, probes: [], onProbe: () => {} },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
  return self
}
