import type { FastifyInstance } from 'fastify'
import { health, type HasHealth, type OverallHealth } from '../core/health.ts'

export interface HealthRoutesOptions {
  /** Parts besides those of `run`, such as `storeHealth('postgresql')`. @defaultValue none */
  readonly parts?: readonly HasHealth[]
  /** @defaultValue `'/health/live'` */
  readonly live?: string
  /** @defaultValue `'/health/ready'` */
  readonly ready?: string
  /** Shows `details` too. They name hosts, topics and errors: not for the public. @defaultValue `false` */
  readonly details?: boolean
}

/** Routes for a liveness and a readiness probe: 200 or 503, with the state of each part. */
export function healthRoutes(
  app: FastifyInstance,
  background: () => readonly HasHealth[],
  { parts = [], live = '/health/live', ready = '/health/ready', details = false }: HealthRoutesOptions,
): void {
  const now = (): OverallHealth => health(...background(), ...parts)
  const shown = ({ parts: all }: OverallHealth): unknown =>
    details ? all : all.map((part) => ({ name: part.name, live: part.live, ready: part.ready }))
  for (const [path, asked] of [
    [live, 'live'],
    [ready, 'ready'],
  ] as const)
    app.get(path, { logLevel: 'warn' }, async (_request, reply) => {
      const state = now()
      reply.code(state[asked] ? 200 : 503).header('cache-control', 'no-store')
      return { [asked]: state[asked], parts: shown(state) }
    })
}
