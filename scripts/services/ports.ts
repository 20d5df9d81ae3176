import { createServer } from 'node:net'

/** Below the range that outgoing connections are given, so that no client can take the port of a stopped server. */
const LOWEST = 20_000
const HIGHEST = 32_000

/** Says whether `count` ports from `port` on are free on loopback. */
export async function areFree(port: number, count = 1): Promise<boolean> {
  for (let i = 0; i < count; i++) if (!(await isFree(port + i))) return false
  return true
}

/** The first of `count` free ports in a row. */
export async function freePorts(count = 1): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST - count))
    if (await areFree(port, count)) return port
  }
  throw new Error(`no ${count} free ports in a row between ${LOWEST} and ${HIGHEST}`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
