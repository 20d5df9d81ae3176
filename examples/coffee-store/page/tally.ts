import { subscribe, type CircuitState, type Delivery, type Step } from 'holdfast'
import { serviceNames, type ServiceName } from '../plan.ts'

/** What holdfast tells of a service while it works. The audit uses none of it. */
export interface ServiceTally {
  duplicates: number
  retries: number
  /** How long a delivery took of late. */
  ms: number
  slowestMs: number
  state: 'runs' | 'killed' | 'starts'
}

export interface Note {
  readonly atMs: number
  readonly text: string
  readonly tone: 'bad' | 'good' | 'plain'
  readonly message?: string
  readonly trace?: string
}

const keptNotes = 10

/** Listens to the events of the library, as a dashboard of your own would. */
export class Tally {
  readonly services: Readonly<Record<ServiceName, ServiceTally>> = {
    order: none(),
    stock: none(),
    payment: none(),
    customer: none(),
  }
  readonly notes: Note[] = []
  readonly #startedMs = performance.now()
  readonly #unsubscribe: readonly (() => void)[]
  #circuit: CircuitState = 'closed'
  circuitOpened = 0

  constructor() {
    this.#unsubscribe = [
      subscribe('settled', ({ delivery, outcome }) => {
        const service = this.#of(delivery)
        if (service !== undefined && outcome === 'duplicate') service.duplicates++
      }),
      subscribe('attempt-failed', ({ delivery, nextInMs }) => {
        const service = this.#of(delivery)
        if (service !== undefined && nextInMs !== null) service.retries++
      }),
      subscribe('dead-lettered', ({ delivery }) => {
        this.#noteLetter(delivery)
      }),
      subscribe('circuit-changed', ({ from, to }) => {
        this.#circuit = to
        if (from === 'closed' && to === 'open') {
          this.circuitOpened++
          this.note('the circuit of the payment API opens: payments wait, and none is tried in vain', 'bad')
        }
        if (to === 'closed') this.note('the circuit closes: a probe got through, and payments go on', 'good')
      }),
    ]
  }

  note(text: string, tone: Note['tone'], links: Pick<Note, 'message' | 'trace'> = {}): void {
    this.notes.unshift({ atMs: this.openMs(), text, tone, ...links })
    this.notes.splice(keptNotes)
  }

  /** One note for each message, whoever gave it up. */
  #noteLetter(delivery: Delivery): void {
    const { id } = delivery.message
    const known = this.notes.findIndex(({ message }) => message === id)
    const [before] = known < 0 ? [] : this.notes.splice(known, 1)
    const text =
      before === undefined ? `${id} is a dead letter of ${delivery.pipeline}` : `${before.text}, ${delivery.pipeline}`
    if (before?.text.includes(delivery.pipeline) === true) this.notes.splice(known, 0, before)
    else this.note(text, 'plain', { message: id, ...traceOf(delivery) })
  }

  openMs(): number {
    return performance.now() - this.#startedMs
  }

  stateOf(service: ServiceName): string {
    const { state } = this.services[service]
    return service === 'payment' && state === 'runs' && this.#circuit !== 'closed' ? `circuit ${this.#circuit}` : state
  }

  /** The outermost stage: it takes the time. */
  timed(service: ServiceName) {
    const tally = this.services[service]
    return <D extends Delivery>(next: Step<D>): Step<D> =>
      async function timed(delivery) {
        const startedMs = performance.now()
        try {
          return await next(delivery)
        } finally {
          const tookMs = performance.now() - startedMs
          tally.ms += (tookMs - tally.ms) / 8
          tally.slowestMs = Math.max(tally.slowestMs, tookMs)
        }
      }
  }

  stop(): void {
    for (const each of this.#unsubscribe) each()
  }

  #of({ pipeline }: Delivery): ServiceTally | undefined {
    return serviceNames.some((name) => name === pipeline) ? this.services[pipeline as ServiceName] : undefined
  }
}

function none(): ServiceTally {
  return { duplicates: 0, retries: 0, ms: 0, slowestMs: 0, state: 'runs' }
}

/** The trace that the message belongs to, where it has one. */
function traceOf({ message: { headers } }: Delivery): Pick<Note, 'trace'> {
  const [, trace] = /^\w{2}-(\w{32})-/.exec(String(headers['traceparent'] ?? '')) ?? []
  return trace === undefined ? {} : { trace }
}
