import { headerText, type Headers } from './message.ts'

/**
 * The permission to run a message again that failed for good: `<generation>;<destination that it first came from>`.
 * It travels with the message and is spent in the claim. Nothing has to be reset in any store.
 */
export const redriveHeader = 'holdfast-redrive'

/** The key of the claim under which the message failed that this one was edited from: where that one blocks its key, this one takes its place. */
export const replacesHeader = 'holdfast-replaces'

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

/**
 * Which pipeline a redrive is for, where several groups read one topic: `<pipeline>;<digest of destination and id>`. The
 * digest is of this very message: an event that inherited the header from the message that caused it is for everybody.
 */
export const redriveToHeader = 'holdfast-redrive-to'

export function redriveToText(pipeline: string, destination: string, id: string): string {
  return `${pipeline};${digestOf(destination, id)}`
}

export function isForAnother(headers: Headers, pipeline: string, destination: string, id: string): boolean {
  const text = headerText(headers, redriveToHeader)
  const at = text?.lastIndexOf(';') ?? -1
  return text !== undefined && text.slice(0, at) !== pipeline && text.slice(at + 1) === digestOf(destination, id)
}

function digestOf(destination: string, id: string): string {
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256')
  return hash.update(`${destination.length}:${destination}${id}`).digest('base64url').slice(0, 22)
}

/** 0 where the message is no redrive. */
export function generationOf(headers: Headers): number {
  return Object.hasOwn(headers, redriveHeader) ? (redrivenFrom(headers)?.generation ?? 0) : 0
}

export function redriveText({ generation, destination }: Redriven): string {
  return `${generation};${destination}`
}
