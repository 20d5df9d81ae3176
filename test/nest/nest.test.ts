import 'reflect-metadata'
import {
  Inject,
  Injectable,
  Module,
  Scope,
  type DynamicModule,
  type INestApplicationContext,
  type Type,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest'
import type { Claimed, Delivery } from '../../src/core/delivery.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing } from '../../src/core/publisher.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import {
  handledBy,
  Handles,
  Holdfast,
  HoldfastHealthIndicator,
  HoldfastModule,
  pipelineToken,
  type HandlesDecorator,
  type HoldfastModuleOptions,
  type PartEnd,
  type Runnable,
} from '../../src/nest/index.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'

interface Order {
  readonly id: string
}
const Orders = pipelineToken<Delivery<Order> & Claimed, Order>('orders')
const stack = () => pipeline<Order>('orders').use(idempotency({ store: memoryIdempotencyStore() }))

class Machine {
  readonly brewed: string[] = []
}

class Barista {
  readonly machine: Machine
  constructor(machine: Machine) {
    this.machine = machine
  }
  async brew({ message, fence }: Delivery<Order> & Claimed): Promise<void> {
    expect(fence).toBeTypeOf('bigint')
    this.machine.brewed.push(message.body.id)
  }
}
// This file is not compiled with decorators: they are called as the compiler calls them.
decorate(Barista, 'brew', Handles(Orders))
Injectable()(Barista)
Inject(Machine)(Barista, undefined, 0)

function decorate<Handled>(
  { prototype }: { readonly prototype: object },
  method: string,
  decorator: HandlesDecorator<Handled>,
): void {
  decorator(prototype, method, Object.getOwnPropertyDescriptor(prototype, method) ?? {})
}

const open: INestApplicationContext[] = []
afterEach(async () => {
  for (const app of open.splice(0)) await app.close()
})

interface Wiring extends HoldfastModuleOptions {
  readonly providers?: NonNullable<DynamicModule['providers']>
  readonly imports?: NonNullable<DynamicModule['imports']>
}

async function started({ providers = [Machine, Barista], imports = [], ...options }: Wiring) {
  class AppModule {}
  Module({ imports: [...imports, HoldfastModule.forRoot(options)], providers: [...providers] })(AppModule)
  const app = await NestFactory.createApplicationContext(AppModule as Type, { logger: false, abortOnError: false })
  open.push(app)
  return app
}

describe('HoldfastModule', () => {
  it('makes a method of a provider the handler of a pipeline, with what the provider was given', async () => {
    const app = await started({ pipelines: [handledBy(Orders, stack())] })
    const orders = app.get(Holdfast).pipeline(Orders)
    expect(await orders.dispatch({ message: { id: '1', body: { id: 'latte' } } })).toBe('handled')
    expect(await orders.dispatch({ message: { id: '1', body: { id: 'latte' } } })).toBe('duplicate')
    expect(app.get(Machine).brewed).toEqual(['latte'])
  })

  it('runs consumers with the application, and drains them before the application is closed', async () => {
    const broker = memoryBroker()
    const gate = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    const done: string[] = []
    class Slow {
      async handle({ message }: Delivery): Promise<void> {
        begun.resolve()
        await gate.promise
        done.push(message.id)
      }
    }
    const Slowly = pipelineToken('slowly')
    decorate(Slow, 'handle', Handles(Slowly))
    const late: string[] = []
    const app = await started({
      providers: [
        Slow,
        { provide: 'late', useValue: { onApplicationShutdown: () => late.push(`after ${done.length}`) } },
      ],
      pipelines: [handledBy(Slowly, pipeline('slowly'))],
      run: (holdfast) => [
        memoryConsumer({ broker, groupId: 'g', topics: ['t'], pipeline: holdfast.pipeline(Slowly), drainMs: 5000 }),
      ],
    })
    await broker.publisher().publish([outgoing({ id: 'm-1', destination: 't', body: null })])
    await begun.promise
    const closing = app.close()
    open.length = 0
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(late).toEqual([])
    gate.resolve()
    await closing
    expect({ done, late }).toEqual({ done: ['m-1'], late: ['after 1'] })
  })

  it('stops before global modules and those further in are destroyed', async () => {
    const order: string[] = []
    const says = (what: string) => ({ provide: what, useValue: { onModuleDestroy: () => order.push(what) } })
    class Database {}
    class Inner {}
    class Middle {}
    const app = await started({
      providers: [],
      imports: [
        { module: Database, global: true, providers: [says('global')] },
        { module: Middle, imports: [{ module: Inner, providers: [says('inner')] }], providers: [says('sibling')] },
      ],
      run: () => [untilAborted(() => order.push('stopped'))],
    })
    await app.close()
    open.length = 0
    expect(order[0]).toBe('stopped')
    expect(order.slice(1).sort()).toEqual(['global', 'inner', 'sibling'])
  })

  it('takes options that need providers, and finds handlers in every module', async () => {
    class Cafe {}
    class AppModule {}
    Module({
      imports: [
        { module: Cafe, providers: [Machine, Barista], exports: [Machine] },
        HoldfastModule.forRootAsync({
          imports: [
            {
              module: class {},
              providers: [{ provide: 'store', useFactory: memoryIdempotencyStore, inject: [] }],
              exports: ['store'],
            },
          ],
          inject: ['store'],
          useFactory: async (store: ReturnType<typeof memoryIdempotencyStore>) => ({
            pipelines: [handledBy(Orders, pipeline<Order>('orders').use(idempotency({ store })))],
          }),
        }),
      ],
    })(AppModule)
    const app = await NestFactory.createApplicationContext(AppModule as Type, { logger: false, abortOnError: false })
    open.push(app)
    await app
      .get(Holdfast)
      .pipeline(Orders)
      .dispatch({ message: { id: '1', body: { id: 'mocha' } } })
    expect(app.get(Machine, { strict: false }).brewed).toEqual(['mocha'])
  })

  it('calls the method that a decorator above @Handles() put in its place', async () => {
    const seen: string[] = []
    class Audited {
      async handle(): Promise<void> {
        seen.push('inner')
      }
    }
    const Token = pipelineToken('audited')
    decorate(Audited, 'handle', Handles(Token))
    const inner = Audited.prototype.handle
    Audited.prototype.handle = function handle(this: Audited) {
      seen.push('outer')
      return inner.call(this)
    }
    const app = await started({ providers: [Audited], pipelines: [handledBy(Token, pipeline('audited'))] })
    await app
      .get(Holdfast)
      .pipeline(Token)
      .dispatch({ message: { id: '1', body: null } })
    expect(seen).toEqual(['outer', 'inner'])
  })

  it('finds the handler that a class inherits, and counts a provider with two names once', async () => {
    class Base {
      readonly seen: string[] = []
      async handle({ message }: Delivery): Promise<void> {
        this.seen.push(message.id)
      }
    }
    class Derived extends Base {}
    const Token = pipelineToken('inherited')
    decorate(Base, 'handle', Handles(Token))
    const app = await started({
      providers: [Derived, { provide: Base, useExisting: Derived }],
      pipelines: [handledBy(Token, pipeline('inherited'))],
    })
    await app
      .get(Holdfast)
      .pipeline(Token)
      .dispatch({ message: { id: '1', body: null } })
    expect(app.get(Derived).seen).toEqual(['1'])
  })
})

describe('a wrong wiring ends the start, and says what is wrong', () => {
  class Second extends Barista {}
  Inject(Machine)(Second, undefined, 0)
  class PerRequest extends Barista {}
  Injectable({ scope: Scope.REQUEST })(PerRequest)
  Inject(Machine)(PerRequest, undefined, 0)

  it.each<[string, Wiring, RegExp]>([
    [
      'a pipeline without a handler',
      { providers: [], pipelines: [handledBy(Orders, stack())] },
      /nothing handles 'orders'/,
    ],
    [
      'a handler without a pipeline',
      {},
      /Barista\.brew handles 'orders', which is not in pipelines: pipelines has none/,
    ],
    [
      'a name with a typing error',
      { pipelines: [handledBy(pipelineToken<Delivery<Order>, Order>('order'), stack())] },
      /did you mean 'order'\?/,
    ],
    [
      'a second token of the same name',
      { pipelines: [handledBy(pipelineToken<Delivery<Order>, Order>('orders'), stack())] },
      /handles another token named 'orders'/,
    ],
    [
      'two handlers',
      { providers: [Machine, Barista, Second], pipelines: [handledBy(Orders, stack())] },
      /'orders' has 2 handlers: Barista\.brew, Second\.brew/,
    ],
    [
      'a provider for each request',
      { providers: [Machine, PerRequest], pipelines: [handledBy(Orders, stack())] },
      /PerRequest\.brew handles 'orders', but its provider is made anew for each request/,
    ],
    [
      'a pipeline twice',
      { pipelines: [handledBy(Orders, stack()), handledBy(Orders, stack())] },
      /'orders' is in pipelines twice/,
    ],
    ['an unknown option', { pipeline: [] } as Wiring, /unknown option 'pipeline'.*Did you mean 'pipelines'/],
  ])('%s', async (_, wiring, message) => {
    await expect(started(wiring)).rejects.toThrow(message)
  })

  it('a static method, and what no pipelineToken() made', () => {
    expect(() => Handles(Orders)(Barista, 'brew', {})).toThrow(/Barista\.brew is static/)
    expect(() => Handles('orders' as never)).toThrow(/token must be made by pipelineToken/)
    expect(() => handledBy(Orders as never, {} as never)).toThrow(/builder must be/)
    expect(() => pipelineToken('')).toThrow(/name must be/)
  })

  it('a token that nobody listed', async () => {
    const app = await started({ pipelines: [handledBy(Orders, stack())] })
    expect(() => app.get(Holdfast).pipeline(pipelineToken('refunds'))).toThrow(/no pipeline for 'refunds'/)
  })
})

describe('health', () => {
  it('says of each part whether it is live and ready', async () => {
    const well = { name: 'store', live: true, ready: true, details: {} }
    const broker = memoryBroker()
    const app = await started({
      pipelines: [handledBy(Orders, stack())],
      run: () => [
        memoryConsumer({ broker, groupId: 'g', topics: ['t'], pipeline: pipeline('p').handle(async () => {}) }),
      ],
      health: [{ health: () => well }],
    })
    await expect.poll(() => app.get(Holdfast).health().ready).toBe(true)
    const indicator = app.get(HoldfastHealthIndicator)
    expect(indicator.ready('queues')).toEqual({
      queues: { status: 'up', parts: { [app.get(Holdfast).health().parts[0]?.name ?? '']: 'up', store: 'up' } },
    })
    expect(indicator.live()).toMatchObject({ holdfast: { status: 'up' } })
  })

  it('a part that fails, or ends, is not live any more, and is told of', async () => {
    const ends: PartEnd[] = []
    const app = await started({
      providers: [],
      onEnd: (end) => ends.push(end),
      run: () => [
        { run: async () => Promise.reject(new Error('no broker')) },
        { run: async () => {} },
        untilAborted(() => {}),
      ],
    })
    await expect.poll(() => ends.length).toBe(2)
    expect(ends.toSorted((a, b) => a.part.localeCompare(b.part))).toEqual([
      { part: 'part 1', error: new Error('no broker') },
      { part: 'part 2' },
    ])
    const { live, parts } = app.get(Holdfast).health()
    expect({ live, parts: parts.map((part) => [part.live, part.details['ended']]) }).toEqual({
      live: false,
      parts: [
        [false, 'no broker'],
        [false, 'it ended before it was told to'],
        [true, undefined],
      ],
    })
    expect(app.get(HoldfastHealthIndicator).live()).toEqual({
      holdfast: { status: 'down', parts: { 'part 1': 'down', 'part 2': 'down', 'part 3': 'up' } },
    })
  })

  it('a part that fails while it stops is told of, and holds up nobody', async () => {
    const ends: PartEnd[] = []
    const app = await started({
      providers: [],
      onEnd: (end) => ends.push(end),
      run: () => [untilAborted(() => Promise.reject(new Error('not drained')))],
    })
    await app.close()
    open.length = 0
    expect(ends).toEqual([{ part: 'part 1', error: new Error('not drained') }])
  })
})

it('types: a handler takes what its stack gives, or less', () => {
  expectTypeOf(Handles(Orders))
    .parameter(2)
    .toEqualTypeOf<TypedPropertyDescriptor<(delivery: Delivery<Order> & Claimed) => Promise<unknown> | void>>()
  // Fewer demands than the stack fulfils.
  handledBy(pipelineToken<Delivery<Order>, Order>('less'), stack())
  // @ts-expect-error the stack opens no transaction
  handledBy(pipelineToken<Delivery<Order> & { readonly tx: object }, Order>('more'), stack())
  // @ts-expect-error the stack takes orders
  handledBy(pipelineToken<Delivery<Order>, string>('other'), stack())
})

/** Runs until it is told to stop, and does that then. */
function untilAborted(then: () => unknown): Runnable {
  return {
    run: (signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener(
          'abort',
          () =>
            void Promise.resolve()
              .then(then)
              .then(() => resolve(), reject),
        )
      }),
  }
}
