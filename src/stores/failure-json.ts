import { isFailureReason, type Failure } from '../core/errors.ts'
import { plainText } from '../core/text.ts'

/** As text that every store can keep: PostgreSQL's JSON knows neither NUL nor half a surrogate pair. */
export function failureToJson({ errorName, errorMessage, errorCode, ...rest }: Failure): string {
  return JSON.stringify({
    ...rest,
    errorName: plainText(errorName),
    errorMessage: plainText(errorMessage),
    ...(errorCode !== undefined && { errorCode: plainText(errorCode) }),
  })
}

/** What cannot be read is still a final failure. */
export function failureFromJson(text: string | null): Failure {
  const kept = parsed(text)
  const read = (name: string): unknown =>
    typeof kept === 'object' && kept !== null ? Reflect.get(kept, name) : undefined
  const [reason, attempts, errorCode] = [read('reason'), read('attempts'), read('errorCode')]
  return {
    reason: isFailureReason(reason) ? reason : 'unhandled',
    errorName: asText(read('errorName')),
    errorMessage: asText(read('errorMessage')),
    ...(typeof errorCode === 'string' && { errorCode }),
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
