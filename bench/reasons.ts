import type { Row } from './measure.ts'

/** Why a target is missed, as far as it is known: by area, name and what stands beside. Written by hand, from profiles. */
const reasons: Readonly<Record<string, string>> = {}

export function reasonOf({ area, name, beside }: Row): string {
  return reasons[`${area}: ${name} / ${beside}`] ?? 'not known yet'
}
