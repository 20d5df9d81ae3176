import type { Delivery } from '../../core/delivery.ts'
import { digest } from '../../core/stored-key.ts'

// In an index of PostgreSQL beside the pipeline's name.
const longestBytes = 300

/**
 * The lane of a message within its pipeline: its destination and key. A message without a key has a lane of its own, and so
 * has each message where nothing is ordered. It is not the scope of the claims: two pipelines may share that one.
 */
export function laneOf({ message, origin: { destination } }: Delivery, ordered: boolean): string {
  const ofKey = ordered && message.key !== null
  const name = `${ofKey ? 'k' : 'm'}${destination.length}:${destination}${ofKey ? message.key : message.id}`
  const plain = Buffer.byteLength(name) <= longestBytes && name.isWellFormed() && !name.includes('\0')
  return plain ? name : `sha256:${digest(Buffer.from(name, 'utf16le'))}`
}
