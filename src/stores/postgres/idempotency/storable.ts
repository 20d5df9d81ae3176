import { PermanentError } from '../../../core/errors.ts'
import { sqlFault } from '../failures.ts'
import { where } from './run.ts'

// An index row takes 2,704 bytes, scope and key together.
const longestBytes = 1300

/** That one key cannot be kept is that message's own fault: the others go on. */
export function requireStorable(name: string, text: string): void {
  const storable = !text.includes('\0') && text.isWellFormed() && Buffer.byteLength(text) <= longestBytes
  if (!storable)
    throw new PermanentError(
      `${where}: a ${name} must be well-formed text without NUL, at most ${longestBytes} bytes long, got '${text.slice(0, 80)}'`,
    )
}

export function refusedKey(error: unknown): never {
  if (sqlFault(error) !== 'refused') throw error
  throw new PermanentError(`${where}: the database cannot keep this key`, { cause: error })
}
