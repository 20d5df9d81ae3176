import { headerText, type Headers } from './message.ts'

/**
 * The permission to run a message again that failed for good: `<generation>;<destination that it first came from>`.
 * It travels with the message and is spent in the claim. Nothing has to be reset in any store.
 */
export const redriveHeader = 'holdfast-redrive'

/** What a redriven message says about itself. */
export interface Redriven {
  /** Drawn from one sequence, so that a later redrive always has the higher one. */
  readonly generation: number
  /** Where the message came from when it was handled first. */
  readonly destination: string
}

/** Anybody can write a header: another form counts as no redrive. 15 digits are exact in a number. */
export function redrivenFrom(headers: Headers): Redriven | undefined {
  const text = headerText(headers, redriveHeader)
  const found = text === undefined ? null : /^([1-9]\d{0,14});(.+)$/s.exec(text)
  return found === null ? undefined : { generation: Number(found[1]), destination: found[2] ?? '' }
}

/** 0 where the message is no redrive. */
export function generationOf(headers: Headers): number {
  return Object.hasOwn(headers, redriveHeader) ? (redrivenFrom(headers)?.generation ?? 0) : 0
}

export function redriveText({ generation, destination }: Redriven): string {
  return `${generation};${destination}`
}
