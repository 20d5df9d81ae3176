import { Logger, type OnApplicationBootstrap, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common'
import type { DiscoveryService } from '@nestjs/core'
import { Background, type PartEnd, type Runnable } from '../core/background.ts'
import { HoldfastError, textOf } from '../core/errors.ts'
import { health, type HasHealth, type OverallHealth } from '../core/health.ts'
import { callback, checkOptions, list } from '../core/options.ts'
import type { Pipeline } from '../core/pipeline.ts'
import { finished } from './discover.ts'
import type { HandledPipeline, PipelineToken } from './handles.ts'

export interface HoldfastModuleOptions {
  /** The stacks whose handlers are methods with `@Handles()`, each made by `handledBy(token, builder)`. @defaultValue none */
  readonly pipelines?: readonly HandledPipeline[]
  /**
   * Returns what runs while the application does: consumers, relays, workers, cleaners. It is called when the application
   * has started, with all pipelines finished. @defaultValue nothing runs
   */
  readonly run?: (holdfast: Holdfast) => readonly Runnable[]
  /** Parts of the health besides those that run, such as `storeHealth('postgresql')`. @defaultValue none */
  readonly health?: readonly HasHealth[]
  /** Is told of a part that ended before the application stopped, or failed while it stopped. @defaultValue an error of Nest's logger */
  readonly onEnd?: (end: PartEnd) => void
}

/** What the module provides: the finished pipelines, and the health of all parts. */
export class Holdfast implements OnModuleInit {
  readonly #options: Required<HoldfastModuleOptions>
  readonly #discovery: Pick<DiscoveryService, 'getProviders' | 'getControllers'>
  readonly #background: Background
  #pipelines: ReturnType<typeof finished> | undefined

  /** @internal */
  constructor(options: HoldfastModuleOptions, discovery: Pick<DiscoveryService, 'getProviders' | 'getControllers'>) {
    const {
      pipelines = [],
      run = () => [],
      health = [],
      onEnd = logEnd,
    } = checkOptions('HoldfastModule', options, {
      pipelines: list,
      run: callback,
      health: list,
      onEnd: callback,
    })
    this.#options = { pipelines, run, health, onEnd }
    this.#discovery = discovery
    this.#background = new Background(onEnd)
  }

  /**
   * The finished pipeline, for a consumer or for `dispatch()`. Ask for it once the providers exist: in `onModuleInit()` or
   * later, not in a constructor.
   * @throws HoldfastError `bad-option` for a token that is not in `pipelines`.
   */
  pipeline<Handled, Entry>(token: PipelineToken<Handled, Entry>): Pipeline<Entry> {
    this.#pipelines ??= finished(this.#options.pipelines, this.#discovery)
    const pipeline = this.#pipelines.get(token)
    if (pipeline === undefined)
      throw new HoldfastError('bad-option', `Holdfast: no pipeline for '${token.name}': list it in pipelines`)
    return pipeline as Pipeline<Entry>
  }

  /** Live and ready if every part is; before the application has started nothing runs yet. */
  health(): OverallHealth {
    return health(...this.#background.health(), ...this.#options.health)
  }

  /** A wrong wiring ends the start of the application. */
  onModuleInit(): void {
    this.#pipelines ??= finished(this.#options.pipelines, this.#discovery)
  }

  /** @internal */
  start(): void {
    this.#background.start(this.#options.run(this))
  }

  /** @internal */
  stop(): Promise<void> {
    return this.#background.stop()
  }
}

/** Starts and stops what runs. It is not global: so it stops before the global modules and those further in. */
export class Runner implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #holdfast: Holdfast

  constructor(holdfast: Holdfast) {
    this.#holdfast = holdfast
  }

  onApplicationBootstrap(): void {
    this.#holdfast.start()
  }

  async onModuleDestroy(): Promise<void> {
    await this.#holdfast.stop()
  }
}

/** One entry of a health check of `@nestjs/terminus`. */
export type IndicatorResult = Record<
  string,
  { readonly status: 'up' | 'down'; readonly parts: Readonly<Record<string, string>> }
>

/** Answers health checks of `@nestjs/terminus`, which it does not import. */
export class HoldfastHealthIndicator {
  readonly #holdfast: Holdfast

  /** @internal */
  constructor(holdfast: Holdfast) {
    this.#holdfast = holdfast
  }

  /** `down` if only a restart helps. */
  live(key = 'holdfast'): IndicatorResult {
    const { live, parts } = this.#holdfast.health()
    return result(key, live, parts, 'live')
  }

  /** `down` while a part cannot do its work. */
  ready(key = 'holdfast'): IndicatorResult {
    const { ready, parts } = this.#holdfast.health()
    return result(key, ready, parts, 'ready')
  }
}

/** Which part, and no details: those of an error may be nobody else's business. */
function result(key: string, well: boolean, parts: OverallHealth['parts'], asked: 'live' | 'ready'): IndicatorResult {
  const each = parts.map((part) => [part.name, part[asked] ? 'up' : 'down'] as const)
  return { [key]: { status: well ? 'up' : 'down', parts: Object.fromEntries(each) } }
}

function logEnd({ part, error }: PartEnd): void {
  const logger = new Logger('holdfast')
  if (error === undefined) logger.error(`${part} ended before it was told to`)
  else logger.error(`${part} failed: ${textOf(error).errorMessage}`, error instanceof Error ? error.stack : undefined)
}
