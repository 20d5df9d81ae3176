import { asError } from '../../core/as-error.ts'
import type { Blame } from '../publish-in-halves.ts'

/** What is known of an error of kafkajs, found anywhere along its causes. */
export interface KafkaFault {
  readonly name: string
  /** The broker's name for it, where the broker said something. */
  readonly type: string | undefined
  readonly message: string
}

/** kafkajs wraps what the broker said in what its retries said; the innermost is the reason. */
export function faultOf(error: unknown): KafkaFault {
  let fault: KafkaFault = { name: 'unknown', type: undefined, message: String(error) }
  const seen = new Set<unknown>()
  for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
    seen.add(at)
    const type = 'type' in at && typeof at.type === 'string' ? at.type : fault.type
    fault = { name: at.name, type, message: at.message }
  }
  return fault
}

/** The broker's name for it, or the innermost message. */
export function reasonOf(error: unknown): string {
  const { message, type } = faultOf(error)
  return type ?? message
}

// The membership is over, or about to be: only a new join helps.
const endsMembership = new Set([
  'REBALANCE_IN_PROGRESS',
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'NOT_COORDINATOR_FOR_GROUP',
  'FENCED_INSTANCE_ID',
])

/** Whether the group has to be joined again before anything else is accepted. */
export function isRebalance(error: unknown): boolean {
  const { type } = faultOf(error)
  return type !== undefined && endsMembership.has(type)
}

const gone = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID'])

/** What an error of a commit or a heartbeat says about the membership. */
export function verdictOn(error: unknown): 'rebalancing' | 'lost' | 'unknown' {
  const { type = '' } = faultOf(error)
  if (gone.has(type)) return 'lost'
  return type === 'REBALANCE_IN_PROGRESS' ? 'rebalancing' : 'unknown'
}

// Refused also without the other messages of the request. INVALID_TIMESTAMP is not among them: kafkajs stamps each record
// with this machine's clock, so that is wrong, and every message would be refused until it is set right.
const badTopic = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION'])
const badMessage = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
])

/** What an error of the producer is about. */
export function blames(error: unknown): Blame {
  const { type } = faultOf(error)
  if (type === undefined) return 'nobody'
  if (badTopic.has(type)) return 'destination'
  return badMessage.has(type) ? 'message' : 'nobody'
}

/** What ended kafkajs for good, with what to do about it. */
export function beyondHelp(error: Error): Error {
  const { name, message } = faultOf(error)
  if (name !== 'KafkaJSNotImplemented') return asError(error)
  const missing = `${message}: register its codec in kafkajs' CompressionCodecs before the consumer is made`
  return new Error(missing, { cause: error })
}
