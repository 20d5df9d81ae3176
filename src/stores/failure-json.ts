import type { Failure, FailureReason } from '../errors.ts'

/** As text that every store can keep: PostgreSQL's JSON knows neither NUL nor half a surrogate pair. */
export function failureToJson({ errorName, errorMessage, ...rest }: Failure): string {
  const clean = (text: string): string => text.toWellFormed().replaceAll('\0', '\ufffd')
  return JSON.stringify({ ...rest, errorName: clean(errorName), errorMessage: clean(errorMessage) })
}

/** What cannot be read is still a final failure. */
export function failureFromJson(text: string | null): Failure {
  const kept = parsed(text)
  const read = (name: string): unknown =>
    typeof kept === 'object' && kept !== null ? Reflect.get(kept, name) : undefined
  const attempts = read('attempts')
  return {
    reason: reasons.find((reason) => reason === read('reason')) ?? 'unhandled',
    errorName: asText(read('errorName')),
    errorMessage: asText(read('errorMessage')),
    attempts: typeof attempts === 'number' ? attempts : 0,
  }
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}

// A record, so that the compiler notices a reason that is missing here.
const known: Readonly<Record<FailureReason, true>> = {
  permanent: true,
  attempts: true,
  undecodable: true,
  conflict: true,
  crashed: true,
  unhandled: true,
}
const reasons = Object.keys(known) as readonly FailureReason[]
