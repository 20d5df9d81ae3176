import type { State } from './state.ts'

/** What must never be so. `undefined`: all is well. */
export function violationOf(state: State): string | undefined {
  const { effects, effectsAtDecision, row } = state
  if (effects > 1) return 'doubled: the message had its effect twice'
  if (effectsAtDecision >= 0 && effects > effectsAtDecision) return 'it ran after it was dropped or replaced'
  if (row?.state === 'resolved' && effects === 0) return 'resolved without an effect'
  return undefined
}

/** What must not be so once nothing more happens by itself. */
export function endViolationOf({ effects, row, effectsAtDecision, ran }: State): string | undefined {
  if (effects > 0) return undefined
  if (row === null) return effectsAtDecision >= 0 ? undefined : 'lost: no effect, and no dead letter'
  if (row.state === 'redriving') return 'stuck: redriving, and nothing is on its way'
  if (row.state === 'dead' && row.redrives > 0 && ran[row.generation] !== true)
    return 'bounced: the redrive never started the handler'
  return undefined
}

/** Allowed, and the next redrive finds it out. */
export function isCompletedButDead({ effects, row }: State): boolean {
  return effects > 0 && row?.state === 'dead'
}
