import type { DynamicModule, FactoryProvider, ModuleMetadata } from '@nestjs/common'
import { DiscoveryModule, DiscoveryService } from '@nestjs/core'
import { callback, checkOptions, list, required } from '../core/options.ts'
import { Holdfast, HoldfastHealthIndicator, Runner, type HoldfastModuleOptions } from './holdfast.ts'

export interface HoldfastModuleAsyncOptions {
  readonly imports?: NonNullable<ModuleMetadata['imports']>
  /** What `useFactory` gets, in this order. */
  readonly inject?: NonNullable<FactoryProvider['inject']>
  // As Nest types it: what is injected depends on the tokens.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly useFactory: (...injected: any[]) => HoldfastModuleOptions | Promise<HoldfastModuleOptions>
}

const OPTIONS = Symbol('the options of HoldfastModule')

/**
 * Runs pipelines in Nest: methods with `@Handles()` are their handlers, consumers and relays start with the application and
 * stop in `onModuleDestroy`, and everybody can inject `Holdfast` and `HoldfastHealthIndicator`.
 */
export class HoldfastModule {
  /** Import it once, as the last import of the root module: so it stops before what the others provide. */
  static forRoot(options: HoldfastModuleOptions): DynamicModule {
    return HoldfastModule.forRootAsync({ useFactory: () => options })
  }

  /** The same, with options that need providers. */
  static forRootAsync(options: HoldfastModuleAsyncOptions): DynamicModule {
    const {
      imports = [],
      inject = [],
      useFactory,
    } = checkOptions('HoldfastModule.forRootAsync', options, {
      imports: list,
      inject: list,
      useFactory: required(callback),
    })
    const shared: DynamicModule = {
      module: HoldfastCore,
      global: true,
      imports: [DiscoveryModule, ...imports],
      providers: [
        { provide: OPTIONS, inject, useFactory },
        {
          provide: Holdfast,
          inject: [OPTIONS, DiscoveryService],
          useFactory: (given: HoldfastModuleOptions, discovery: DiscoveryService) => new Holdfast(given, discovery),
        },
        {
          provide: HoldfastHealthIndicator,
          inject: [Holdfast],
          useFactory: (holdfast: Holdfast) => new HoldfastHealthIndicator(holdfast),
        },
      ],
      exports: [Holdfast, HoldfastHealthIndicator],
    }
    return {
      module: HoldfastModule,
      imports: [shared],
      providers: [{ provide: Runner, inject: [Holdfast], useFactory: (holdfast: Holdfast) => new Runner(holdfast) }],
    }
  }
}

class HoldfastCore {}
