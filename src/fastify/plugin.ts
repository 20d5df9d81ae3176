import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { Background, runnable, type PartEnd, type Runnable } from '../core/background.ts'
import { badOption, callback, checkOptions, either, flag, list, objects, oneOf, text } from '../core/options.ts'
import { healthRoutes, type HealthRoutesOptions } from './health.ts'
import { mountPage, type MountedPageOptions } from './page.ts'

export interface HoldfastPluginOptions {
  /**
   * What runs while the application does: consumers, relays, workers, cleaners. All start when the application is ready, and
   * stop, with all that they handle, before it stops to answer requests. @defaultValue nothing runs
   */
  readonly run?: readonly Runnable[]
  /** The routes for probes, or `false` for none. @defaultValue `/health/live` and `/health/ready` */
  readonly health?: HealthRoutesOptions | false
  /** Mounts the operator's page. @defaultValue it is not mounted */
  readonly page?: MountedPageOptions
  /** Is told of a part that ended before the application stopped, or failed while it stopped. @defaultValue an error of the application's logger */
  readonly onEnd?: (end: PartEnd) => void
}

const where = 'holdfast (fastify)'

/**
 * Runs consumers and relays with the application, answers probes, and mounts the operator's page.
 * @throws HoldfastError (`bad-option`) when it is registered.
 */
export const holdfast: FastifyPluginAsync<HoldfastPluginOptions> = named(async function holdfast(app, given) {
  // A prefix is Fastify's own option.
  const { prefix: _, ...options } = given as HoldfastPluginOptions & { readonly prefix?: string }
  const {
    run = [],
    health = {},
    page,
    onEnd = logsEnd(app),
  } = checkOptions(where, options, {
    run: list,
    health: either(oneOf(false), objects),
    page: objects,
    onEnd: callback,
  })
  run.forEach((part, at) => {
    if (!runnable.fits(part)) throw badOption(where, `run[${at}]`, runnable.wanted, part)
  })
  const background = new Background(onEnd)
  if (health !== false) {
    checkOptions(`${where}: health`, health, { parts: list, live: text, ready: text, details: flag })
    healthRoutes(app, () => background.health(), health)
  }
  if (page !== undefined) await mountPage(app, page)
  app.addHook('onReady', async () => background.start(run))
  app.addHook('preClose', () => background.stop())
})

function logsEnd({ log }: FastifyInstance): (end: PartEnd) => void {
  return ({ part, error }) => {
    if (error === undefined) log.error(`${part} ended before it was told to`)
    else log.error({ err: error }, `${part} failed`)
  }
}

/** The name that Fastify shows in its errors. */
function named<Plugin extends object>(plugin: Plugin): Plugin {
  return Object.assign(plugin, { [Symbol.for('fastify.display-name')]: 'holdfast' })
}
