import type { Fault } from './faults.ts'
import type { Noted, WritableLedger } from './ledger.ts'
import type { SimulatedBroker } from './simulated-broker.ts'
import type { Simulation } from './task.ts'

export interface SimulatedProducerOptions {
  readonly simulation: Simulation
  readonly broker: SimulatedBroker
  readonly ledger: WritableLedger
  readonly note: (entry: Noted) => void
  readonly keys: number
  readonly body: (number: number) => Uint8Array
  /** No handler will ever manage this message. */
  readonly onPoison: (id: string) => void
}

const sendFaults: readonly Fault[] = ['duplicate', 'redelivery', 'reorder', 'poison']

/** Sends the message with that number: once, twice, late, or again minutes later. */
export function simulatedProducer({
  simulation,
  broker,
  ledger,
  note,
  keys,
  body,
  onPoison,
}: SimulatedProducerOptions): (number: number) => void {
  return function produce(number) {
    const id = `m${number + 1}`
    const lane = number % keys
    const partition = lane % broker.logs.length
    const key = `k${lane + 1}`
    const bytes = body(number + 1)
    const append = (): void => {
      if (ledger.sent.every((message) => message.id !== id)) {
        ledger.send(id, key)
        note({ kind: 'sent', by: 'producer', group: ledger.groups[0] ?? '', messageId: id })
      }
      broker.append(partition, id, key, bytes)
      simulation.say('producer', `sends ${id} (${key}) to p${partition}`)
    }
    simulation.ready({
      label: `send ${id}`,
      process: null,
      phase: 'send',
      faults: sendFaults,
      run(deviation) {
        const { do: what, ms = 0 } = deviation ?? {}
        if (what === 'poison') {
          simulation.say('producer', `${id} can never be handled`)
          onPoison(id)
        }
        if (what === 'reorder') simulation.later(ms, `send ${id} late`, append)
        else append()
        if (what === 'duplicate' && ms === 0) append()
        else if (what === 'duplicate' || what === 'redelivery') simulation.later(ms, `send ${id} again`, append)
        return true
      },
    })
  }
}
