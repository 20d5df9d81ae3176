import type { FastifyInstance } from 'fastify'
import { nodeListener, type NodeListenerOptions } from '../dashboard/node.ts'
import { operatorPage, type OperatorPageOptions } from '../dashboard/operator-page.ts'

/** The options of `operatorPage()`, and where it is mounted. */
export interface MountedPageOptions extends OperatorPageOptions, NodeListenerOptions {
  /** Without the prefix of the plugin, which is put before it. @defaultValue `'/holdfast'` */
  readonly basePath?: string
}

/** Mounts the operator's page below a path. */
export async function mountPage(
  app: FastifyInstance,
  { protocol, basePath = '/holdfast', ...options }: MountedPageOptions,
): Promise<void> {
  const path = `${app.prefix}${basePath}`.replace(/\/$/, '')
  const listener = nodeListener(
    operatorPage({ ...options, basePath: path }),
    protocol === undefined ? {} : { protocol },
  )
  await app.register(async (scope) => {
    // The page reads bodies itself.
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
    const base = basePath.replace(/\/$/, '')
    for (const url of [base === '' ? '/' : base, `${base}/*`])
      scope.all(url, (request, reply) => {
        reply.hijack()
        listener(request.raw, reply.raw)
      })
  })
}
