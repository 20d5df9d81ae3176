import { resilient, type Delivery, type Middleware, type Pipeline } from 'holdfast'
import { circuitBreaker } from 'holdfast/policies'
import type { Consumer } from '../backend.ts'
import { OrderPlaced } from '../contracts.ts'
import type { Dice } from '../dice.ts'
import type { Order } from '../orders.ts'
import type { ServiceName } from '../plan.ts'
import { customerService } from '../services/customer.ts'
import { orderService } from '../services/order.ts'
import { paymentService } from '../services/payment.ts'
import { stockService } from '../services/stock.ts'
import { startProcess, type Apis, type Process } from '../world.ts'
import { naive, type Handler } from '../wrap.ts'
import type { Connections, Database, Wire, Write } from './ground.ts'
import { apisFor, slowed } from './outside.ts'
import type { Switches } from './switches.ts'
import type { Tally } from './tally.ts'

const handlers: Readonly<Record<ServiceName, (apis: Apis) => Handler>> = {
  order: orderService,
  stock: stockService,
  payment: paymentService,
  customer: customerService,
}

export interface ServiceOptions {
  readonly wire: Wire
  readonly database: Database
  readonly naive: boolean
  readonly switches: Switches
  readonly tally: Tally
  readonly chance: Dice
  /** Tracing and metrics. */
  readonly outside: readonly Middleware[]
}

/** One service as a process: it is started, killed without a warning, and started again. */
export class ServiceProcess {
  readonly #name: ServiceName
  readonly #options: ServiceOptions
  #running: { readonly consumer: Consumer; readonly connections: Connections; readonly process: Process } | undefined

  constructor(name: ServiceName, options: ServiceOptions) {
    this.#name = name
    this.#options = options
  }

  async start(): Promise<void> {
    const { wire, database, tally } = this.#options
    const told = tally.services[this.#name]
    if (told.state === 'killed') told.state = 'starts'
    const process = startProcess()
    const connections = database.connect(process)
    const pipeline = this.#pipeline(connections, process)
    const consumer = await wire.consume(this.#name, wire.ordersTopic, pipeline, connections.concurrency)
    this.#running = { process, connections, consumer }
    told.state = 'runs'
  }

  async kill(): Promise<void> {
    if (this.#running === undefined) return
    const { process, consumer, connections } = this.#running
    this.#running = undefined
    process.kill()
    this.#options.tally.services[this.#name].state = 'killed'
    await Promise.all([consumer.crash(), connections.close()])
  }

  async stop(): Promise<void> {
    await this.#running?.consumer.stop()
    await this.#running?.connections.close()
  }

  #pipeline(connections: Connections, process: Process): Pipeline {
    const { naive: unwrapped, database, switches, tally, outside } = this.#options
    const name = this.#name
    const timed = tally.timed(name)
    const handle = this.#handler(process)
    if (unwrapped)
      return naive(name, (delivery) => handle(delivery, connections.write), {
        watch: { deliveries: timed, starts: (handler) => handler },
      })
    const slow: Middleware = (next) => async (delivery) => {
      await slowed(switches)
      return next(delivery)
    }
    const stack = resilient(name, {
      codec: OrderPlaced,
      ...{ store: connections.store, deadLetters: database.deadLetters, deadLetterDestination: name },
      // What a killed process had claimed is free again after a lease.
      ...{ leaseMs: 1_500, retainMs: 600_000, maxAttempts: 10, backoff: { initialMs: 20, maxMs: 200 } },
      ...{ timeoutMs: 2_000, abandonAfterMs: 500, log: false },
      outside: [...outside, timed, slow],
    })
    return connections.finish(stack, handle)
  }

  /** The handler is that of the demo without a page; what it calls is made for each message. */
  #handler(process: Process): (delivery: Delivery<Order>, write: Write) => Promise<void> {
    const { naive: unwrapped, database, switches, chance } = this.#options
    const circuit = this.#name === 'payment' ? circuitBreaker({ name: 'payment-api', openAfter: 5 }) : undefined
    return async (delivery, write) => {
      const { id } = delivery.message
      const charge: Write = (effect) => database.charge(effect, unwrapped ? undefined : id)
      const apis = apisFor({ process, switches, chance, write, charge })
      const payments: Apis['payments'] = {
        charge: (order, cents) =>
          circuit === undefined || unwrapped
            ? apis.payments.charge(order, cents)
            : circuit.run(() => apis.payments.charge(order, cents), { signal: delivery.signal, id }),
      }
      await handlers[this.#name]({ ...apis, payments })(delivery)
    }
  }
}
