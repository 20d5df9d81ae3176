import type { Stage } from '../../core/delivery.ts'
import { factsOf } from '../../core/describe.ts'
import { HoldfastError } from '../../core/errors.ts'
import { badOption } from '../../core/options.ts'
import { misfits, pipelineNotes } from '../fits-pipeline.ts'

export interface TimeSettings {
  readonly concurrency: number
  readonly sessionMs: number
  readonly rebalanceMs: number
  readonly heartbeatMs: number
  readonly maxWaitMs: number
  readonly drainMs: number
}

/** Refuses a buffer that is full before as many messages are in memory as may be started. */
export function requireRoom(where: string, ahead: number, buffer: number): void {
  if (buffer < ahead) throw badOption(where, 'buffer', `at least ahead (${ahead})`, buffer)
}

/** Refuses a session that one or two lost heartbeats would end. */
export function requireBeats(where: string, heartbeatMs: number, sessionMs: number): void {
  if (heartbeatMs * 3 > sessionMs)
    throw badOption(where, 'sessionMs', `at least three times heartbeatMs (${heartbeatMs})`, sessionMs)
}

/** Refuses settings that contradict each other or the pipeline, all in one message. Returns remarks on the rest. */
export function checkSettings(where: string, settings: TimeSettings, stages: readonly Stage[]): readonly string[] {
  const { concurrency, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, drainMs } = settings
  const facts = factsOf(stages)
  const wrong: string[] = []
  if (heartbeatMs * 3 > sessionMs)
    wrong.push(
      `heartbeatMs (${heartbeatMs}) must be at most a third of sessionMs (${sessionMs}): two lost beats end the membership`,
    )
  if (drainMs + heartbeatMs + maxWaitMs >= rebalanceMs)
    wrong.push(
      `drainMs (${drainMs}) + heartbeatMs (${heartbeatMs}) + maxWaitMs (${maxWaitMs}) must be less than rebalanceMs (${rebalanceMs}): a member that drains for longer is expelled`,
    )
  wrong.push(...misfits({ concurrency, drainMs }, stages))
  if (wrong.length > 0) throw new HoldfastError('bad-option', `${where}: ${wrong.join('; ')}`)
  const notes: string[] = []
  if (facts.leaseMs !== undefined && facts.leaseMs > sessionMs + rebalanceMs)
    notes.push(
      `leaseMs (${facts.leaseMs}) outlasts a crash's hand-over (sessionMs + rebalanceMs): the keys of a killed process wait for their leases`,
    )
  return [...notes, ...pipelineNotes(stages)]
}
