import { publisher, type Middleware, type Publisher } from 'holdfast'
import { outboxRelay } from 'holdfast/outbox'
import { tracedPublish } from 'holdfast/tracing'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Consumer } from '../backend.ts'
import { ProductClicked } from '../contracts.ts'
import { dice, type Dice } from '../dice.ts'
import { coffees } from '../orders.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import { liveAuditOf, type Figures, type LiveAudit } from './audit.ts'
import type { Placed } from './books.ts'
import type { Database, Wire } from './ground.ts'
import { ServiceProcess } from './service.ts'
import { Switches, switchNames, switchTexts, type SwitchName } from './switches.ts'
import { Tally } from './tally.ts'
import type { Clicks } from './windows.ts'

export interface StoreOptions {
  readonly wire: Wire
  readonly database: Database
  readonly seed: number
  readonly naive: boolean
  /** Tracing and metrics. */
  readonly outside: readonly Middleware[]
  /** Without a change, this long, nothing more will come. */
  readonly patienceMs: number
}

/** What there is to see of the store at one moment. */
export interface Look {
  readonly figures: Figures
  readonly clicks: Clicks
  readonly inOutbox: number
}

const customers = 30

/** The coffee store while it is open: it sells, it is broken on purpose, and it keeps books. */
export class CoffeeStore {
  readonly switches = new Switches()
  readonly tally = new Tally()
  clicksSent = 0
  readonly #options: StoreOptions
  readonly #publisher: Publisher
  readonly #services: Readonly<Record<ServiceName, ServiceProcess>>
  readonly #chance: Dice
  readonly #sequences = new Map<string, number>()
  #placed = 0
  #relay: { readonly poke: () => void; readonly stop: () => Promise<void> } | undefined
  #window: Consumer | undefined
  #acts: Promise<void> = Promise.resolve()
  #placing: Promise<void> = Promise.resolve()

  constructor(options: StoreOptions) {
    this.#options = options
    const { wire, seed } = options
    this.#chance = dice(seed, 'visitors')
    const twice: Publisher = {
      publish: async (messages, publishOptions) => {
        await wire.publisher.publish(messages, publishOptions)
        if (this.switches.isOn('twice')) await wire.publisher.publish(messages, publishOptions)
      },
    }
    this.#publisher = publisher(twice).use(tracedPublish({ system: wire.name === '' ? 'memory' : 'kafka' }))
    const made = { ...options, switches: this.switches, tally: this.tally, chance: dice(seed, 'calls') }
    this.#services = {
      order: new ServiceProcess('order', made),
      stock: new ServiceProcess('stock', made),
      payment: new ServiceProcess('payment', made),
      customer: new ServiceProcess('customer', made),
    }
  }

  async open(): Promise<void> {
    const { wire, database, naive } = this.#options
    const started = serviceNames.map((name) => this.#services[name].start())
    const window = wire.consume('window', wire.clicksTopic, database.clicks(naive), 200)
    await Promise.all(started)
    this.#window = await window
    this.#startRelay()
  }

  /** So many orders of chance customers, or of one coffee. */
  async order(count: number, coffee?: string): Promise<void> {
    const { database, wire } = this.#options
    const orders = Array.from({ length: count }, (): Placed => {
      const customer = `customer-${this.#chance.between(1, customers)}`
      const sequence = (this.#sequences.get(customer) ?? 0) + 1
      this.#sequences.set(customer, sequence)
      const id = `order-${++this.#placed}`
      const chosen = coffee ?? this.#chance.pick(coffees)
      const order = { id, customer, sequence, coffee: chosen, cups: this.#chance.between(1, 4) }
      return { order, poison: this.switches.isOn('poison') && this.#placed % 5 === 0 }
    })
    // One transaction after the other: a customer's later order must not commit first.
    this.#placing = this.#placing.catch(() => {}).then(() => database.place(orders, wire.ordersTopic))
    await this.#placing
    this.#relay?.poke()
  }

  /** A look at a coffee is an event too. Nobody waits for it, so it takes no outbox. */
  async click(coffee?: string): Promise<void> {
    const product = coffee ?? coffees[Math.floor(this.#chance.throw() ** 2 * coffees.length)] ?? 'filter'
    const visitor = `visitor-${this.#chance.between(1, 200)}`
    const click = ProductClicked.message({ product, visitor }, { id: `click-${++this.clicksSent}` })
    await this.#publisher.publish([{ ...click, destination: this.#options.wire.clicksTopic }])
  }

  /** Breaks something, or puts it back. One act after the other. */
  set(name: SwitchName, on: boolean): Promise<void> {
    this.#acts = this.#acts
      .catch(() => {})
      .then(async () => {
        if (this.switches.isOn(name) === on) return
        this.switches.set(name, on)
        this.tally.note(switchTexts[name][on ? 'on' : 'off'], on ? 'bad' : 'good')
        if (name === 'stock') await (on ? this.#services.stock.kill() : this.#services.stock.start())
        if (name === 'relay' && on) await this.#stopRelay()
        if (name === 'relay' && !on) this.#startRelay()
      })
    return this.#acts
  }

  async look(): Promise<Look> {
    const { database } = this.#options
    const [figures, clicks, status] = await Promise.all([
      database.figures(),
      database.recentClicks(),
      database.outboxStore.status(),
    ])
    return { figures, clicks, inOutbox: status.pending }
  }

  /** Puts everything back, waits for what is on its way, closes the books, and says what they hold. */
  async close(): Promise<LiveAudit> {
    for (const name of switchNames) await this.set(name, false)
    await this.#untilQuiet()
    await this.#stopRelay()
    await Promise.all([...serviceNames.map((name) => this.#services[name].stop()), this.#window?.stop()])
    this.tally.stop()
    return liveAuditOf(await this.#options.database.figures(), this.clicksSent, { closed: true })
  }

  async #untilQuiet(): Promise<void> {
    let before = ''
    let changedMs = performance.now()
    while (performance.now() - changedMs < this.#options.patienceMs) {
      const { figures, inOutbox } = await this.look()
      const { waiting } = liveAuditOf(figures, this.clicksSent, { closed: false })
      if (waiting + inOutbox === 0 && figures.clicksCounted >= this.clicksSent) {
        // A repeat may still be on its way.
        await sleep(200)
        return
      }
      const now = JSON.stringify([figures.services, figures.clicksCounted, inOutbox])
      if (now !== before) changedMs = performance.now()
      before = now
      await sleep(50)
    }
  }

  #startRelay(): void {
    const relay = outboxRelay({ store: this.#options.database.outboxStore, publisher: this.#publisher, leaseMs: 2_000 })
    const stopping = new AbortController()
    const ended = relay.run(stopping.signal)
    this.#relay = {
      poke: () => relay.poke(),
      async stop() {
        stopping.abort()
        await ended
      },
    }
  }

  async #stopRelay(): Promise<void> {
    const relay = this.#relay
    this.#relay = undefined
    await relay?.stop()
  }
}
