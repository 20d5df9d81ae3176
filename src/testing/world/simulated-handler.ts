import type { Delivery } from '../../core/delivery.ts'
import { PermanentError } from '../../core/errors.ts'
import type { ClaimTable } from './claim-table.ts'
import type { Noted } from './ledger.ts'
import { isAlive, nameOf, type SimulatedProcess } from './process.ts'
import type { Simulation } from './task.ts'

export interface SimulatedHandlersOptions {
  readonly simulation: Simulation
  readonly note: (entry: Noted) => void
  readonly claims: ClaimTable
  readonly isPoison: (messageId: string) => boolean
}

/** A handler as its author wrote it, and as it is run. */
export type WrapHandler = <D extends Delivery>(
  handler: (delivery: D) => Promise<unknown> | void,
) => (delivery: D) => Promise<void>

/** A handler that was started and has not ended. */
interface Running {
  readonly process: SimulatedProcess
  readonly incarnation: number
  readonly by: string
  readonly signal: AbortSignal
}

/** Notes when handlers of all processes start and end, who runs besides them, and whether their lease still holds. */
export function simulatedHandlers({
  simulation,
  note,
  claims,
  isPoison,
}: SimulatedHandlersOptions): (process: SimulatedProcess, group: string) => WrapHandler {
  const running = new Map<string, Running>()

  return function wrapFor(process, group) {
    const { incarnation } = process
    const who = nameOf(process)

    async function handle<D extends Delivery>(
      handler: (delivery: D) => Promise<unknown> | void,
      delivery: D,
    ): Promise<void> {
      const { message, signal } = delivery
      const about = { by: who, group, messageId: message.id }
      const other = running.get(`${group}/${message.id}`)
      const besides = other !== undefined && !isExcused(other) ? other.by : null
      const token = 'fence' in delivery && typeof delivery.fence === 'bigint' ? delivery.fence : undefined
      simulation.say(who, `handler starts ${message.id}${token === undefined ? '' : ` (fence ${token})`}`)
      note({ ...about, kind: 'started', aborted: signal.aborted, besides })
      if (isPoison(message.id)) throw new PermanentError(`${message.id} can never be handled`)
      const mine = { process, incarnation, by: who, signal }
      running.set(`${group}/${message.id}`, mine)
      try {
        await simulation.within(process, message.id, async () => handler(delivery), true)
        if (!('tx' in delivery) && isAlive(process, incarnation)) note({ ...about, kind: 'completed' })
      } finally {
        if (running.get(`${group}/${message.id}`) === mine) running.delete(`${group}/${message.id}`)
        note({ ...about, kind: 'ended', aborted: signal.aborted, pastLeaseMs: pastLease(token, signal) })
      }
    }

    function pastLease(token: bigint | undefined, signal: AbortSignal): number {
      if (token === undefined || signal.aborted || process.wasPaused) return 0
      const row = claims.byToken(token)
      return row?.state === 'in-progress' ? Math.max(0, simulation.nowMs - row.untilMs) : 0
    }

    return (handler) => (delivery) => handle(handler, delivery)
  }
}

/** What was told to stop, stood still or is dead may be overtaken. */
function isExcused({ process, incarnation, signal }: Running): boolean {
  return signal.aborted || process.wasPaused || process.state !== 'up' || process.incarnation !== incarnation
}
