import {
  AbandonedError,
  FailedBeforeError,
  HoldfastError,
  PermanentError,
  PublishError,
  RetryLater,
  type ErrorCode,
} from '../../src/core/errors.ts'
import type { Fault } from '../../src/core/fault.ts'

const failure = { reason: 'permanent', errorName: 'E', errorMessage: '', attempts: 1 } as const
const ours = (code: ErrorCode) => new HoldfastError(code, code)
const refused = (permanent: boolean) => new PublishError('no', [{ index: 0, error: new Error('no'), permanent }])

// One row a case. `null`: the table does not know it, and the place where it was thrown decides.
export const faultTable: readonly [what: string, error: unknown, fault: Fault | null][] = [
  ['a PermanentError', new PermanentError('never'), 'message'],
  ['a failure of before', new FailedBeforeError('again', failure), 'message'],
  ['a key with another content', ours('key-conflict'), 'message'],
  ['a transaction that the handler ended', ours('transaction-ended'), 'message'],
  ['a COMMIT that was a ROLLBACK', ours('commit-refused'), 'message'],
  ['a session that one message lost', ours('session-lost'), 'message'],
  ['an abandoned handler', new AbandonedError('deaf', Promise.resolve()), 'message'],
  ['a RetryLater of one message', new RetryLater(1), 'message'],
  ['a RetryLater of a key', new RetryLater(1, { holds: 'lane' }), 'message'],
  ['a RetryLater of everything', new RetryLater(1, { holds: 'pipeline' }), 'infrastructure'],
  ['a message that the broker refuses', refused(true), 'message'],
  ['a message that the broker did not take now', refused(false), 'infrastructure'],
  ['a PublishError that names nothing', new PublishError('no', []), 'infrastructure'],
  ['a time-out', ours('timed-out'), 'dependency'],
  ['a store that is not there', ours('unavailable'), 'infrastructure'],
  ['tables that are missing', ours('bad-schema'), 'infrastructure'],
  ['a wrong option', ours('bad-option'), 'infrastructure'],
  ['any other error', new Error('no'), null],
  ['a text', 'no', null],
  ['nothing', undefined, null],
]
