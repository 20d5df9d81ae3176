import { setTimeout as sleep } from 'node:timers/promises'
import { outgoing } from 'holdfast'
import type { Evidence } from './audit.ts'
import type { Backend, Consumer } from './backend.ts'
import { serviceNames, type Plan, type PlannedOrder, type ServiceName } from './plan.ts'
import { customerService } from './services/customer.ts'
import { orderService } from './services/order.ts'
import { paymentService } from './services/payment.ts'
import { stockService } from './services/stock.ts'
import { seconds } from './terminal.ts'
import type { Note, Progress, View } from './view.ts'
import { noCounts, watch, watchCircuit, type AllCounts } from './watch.ts'
import { startProcess, world, type Apis, type Process } from './world.ts'
import { guarded, naive, wrapped, type Handler } from './wrap.ts'

export interface ShopOptions {
  readonly plan: Plan
  readonly seed: number
  readonly naive: boolean
  readonly backend: Backend
  readonly title: string
  readonly viewOf: (progress: Progress) => View
}

const handlers: Readonly<Record<ServiceName, (apis: Apis) => Handler>> = {
  order: orderService,
  stock: stockService,
  payment: paymentService,
  customer: customerService,
}

/** Opens the shop, lets everything go wrong that was planned, and closes when all messages are dealt with. */
export async function runShop({ plan, seed, naive: unwrapped, backend, title, viewOf }: ShopOptions) {
  const outside = world(plan, seed)
  const counts: AllCounts = { order: noCounts(), stock: noCounts(), payment: noCounts(), customer: noCounts() }
  const running = new Map<ServiceName, { readonly process: Process; readonly consumer: Consumer }>()
  const bytesSent = new Map<string, Buffer>()
  const run = `coffee-store-${Date.now().toString(36)}`
  let kills = 0
  let outages = 0

  const circuit = watchCircuit('payment-api', (from, to) => {
    if (from === 'closed') note('circuit open: payments wait, and no order is tried in vain', 'bad')
    if (to === 'closed') note('circuit closed: a probe got through, and payments go on', 'good')
  })
  const progress: Progress = {
    title,
    startedMs: performance.now(),
    total: plan.orders.length,
    placed: 0,
    published: 0,
    counts,
    down: new Set(),
    circuit,
    paymentsDown: false,
    notes: [],
  }
  const view = viewOf(progress)

  function note(text: string, tone: Note['tone']): void {
    const noted = { atMs: performance.now(), text, tone }
    progress.notes.push(noted)
    view.note(noted)
  }

  async function start(service: ServiceName): Promise<void> {
    const process = startProcess()
    const apis = outside.apisFor(process)
    const watching = watch(counts[service], process)
    const pipeline = unwrapped
      ? naive(service, handlers[service](apis), { watch: watching })
      : wrapped(service, handlers[service]({ ...apis, payments: guarded(apis.payments) }), {
          store: backend.store,
          deadLetters: backend.publisher,
          deadLetterTopic: backend.deadLetterTopic(service),
          scope: `${run}.${service}`,
          watch: watching,
        })
    running.set(service, { process, consumer: await backend.consume(service, pipeline) })
  }

  async function killAndRestart({ service, downMs }: Plan['kill']): Promise<void> {
    await outside.nextCall(service)
    const killed = running.get(service)
    if (killed === undefined) return
    killed.process.kill()
    kills++
    progress.down.add(service)
    note(`kill: the ${service} consumer is dead in the middle of its work`, 'bad')
    await killed.consumer.crash()
    await sleep(downMs)
    await start(service)
    progress.down.delete(service)
    note(`the ${service} consumer is back, and takes up what was left`, 'good')
  }

  async function payOutage({ downMs }: Plan['outage']): Promise<void> {
    outages++
    outside.paymentsDown = progress.paymentsDown = true
    note(`outage: the payment API is down for ${seconds(downMs)}`, 'bad')
    await sleep(downMs)
    outside.paymentsDown = progress.paymentsDown = false
    note('the payment API is back', 'good')
  }

  async function send(orders: readonly PlannedOrder[]): Promise<void> {
    const messages = orders.map(({ order, poison }) => {
      const text = JSON.stringify(order)
      const body = Buffer.from(poison === 'garbled' ? text.slice(0, text.length / 2) : text)
      bytesSent.set(order.id, body)
      return outgoing({
        destination: backend.ordersTopic,
        id: order.id,
        type: 'order.placed',
        key: order.customer,
        body,
      })
    })
    await backend.publisher.publish(messages)
    progress.published += messages.length
  }

  /** Places the orders at their pace, and some of them again; what goes wrong, goes wrong on the way. */
  async function place(): Promise<void> {
    const { orders, perSecond, kill, outage } = plan
    const again = new Map<number, PlannedOrder[]>()
    const troubles: Promise<void>[] = []
    const startedMs = performance.now()
    while (progress.placed < orders.length) {
      await sleep(20)
      const due = Math.min(orders.length, Math.floor(((performance.now() - startedMs) / 1000) * perSecond))
      const batch: PlannedOrder[] = []
      for (const planned of orders.slice(progress.placed, due)) {
        batch.push(planned)
        const at = ++progress.placed
        if (planned.repeatedAfter !== null) push(again, at + planned.repeatedAfter, planned)
        batch.push(...(again.get(at) ?? []))
        again.delete(at)
        if (at === kill.atOrder) troubles.push(killAndRestart(kill))
        if (at === outage.atOrder) troubles.push(payOutage(outage))
      }
      if (batch.length > 0) await send(batch)
    }
    await send([...again.values()].flat())
    await Promise.all(troubles)
  }

  async function untilAllIsDone(): Promise<void> {
    const done = () => serviceNames.reduce((sum, service) => sum + counts[service].acked.size, 0)
    let before = done()
    let changedMs = performance.now()
    while (before < progress.published * serviceNames.length) {
      await sleep(20)
      if (done() !== before) changedMs = performance.now()
      before = done()
      if (performance.now() - changedMs > backend.patienceMs) return note('nothing moves any more', 'bad')
    }
  }

  try {
    await Promise.all(serviceNames.map(start))
    await place()
    await untilAllIsDone()
    await Promise.all([...running.values()].map(({ consumer }) => consumer.stop()))
  } finally {
    view.end()
    circuit.stopWatching()
  }

  const deadLetters: Evidence['deadLetters'][number][] = []
  for (const service of serviceNames)
    for (const { id, body } of await backend.deadLetters(service))
      deadLetters.push({ service, order: id, intact: body !== null && bytesSent.get(id)?.equals(body) === true })

  const { effects, faults } = outside
  const { published } = progress
  const evidence: Evidence = { plan, published, effects, faults, counts, kills, outages, deadLetters }
  return { evidence, timesOpened: circuit.timesOpened, tookMs: performance.now() - progress.startedMs }
}

function push<Key, Value>(lists: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}
