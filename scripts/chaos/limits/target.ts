import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { maxConcurrent, zero, type Tenant } from './settings.ts'

/** What every handler calls: it takes a while, and counts how many run at once of each tenant. */
export interface LimitsTarget {
  readonly url: string
  readonly starts: number
  /** Starts above the limit of their tenant, while the limit counts. */
  readonly over: number
  readonly peak: number
  close(): Promise<void>
}

export async function limitsTarget(): Promise<LimitsTarget> {
  const running = zero()
  const counts = { starts: 0, over: 0, peak: 0 }
  const server = createServer((request, response) => {
    const name = new URL(request.url ?? '/', 'http://localhost').searchParams.get('tenant') as Tenant
    counts.starts++
    running[name]++
    counts.peak = Math.max(counts.peak, running[name])
    if (running[name] > maxConcurrent) counts.over++
    const timer = setTimeout(() => response.end(), 100 + Math.random() * 100)
    // Also where the process that called was killed.
    response.once('close', () => {
      clearTimeout(timer)
      running[name]--
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get starts() {
      return counts.starts
    },
    get over() {
      return counts.over
    },
    get peak() {
      return counts.peak
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
