export { type AddOptions, type Outbox, type OutboxMessage, type OutboxOptions } from './outbox.ts'
export { outboxRelay, type OutboxRelay, type OutboxRelayOptions } from './relay.ts'
export {
  type Attendance,
  type DeadRow,
  type OutboxCallOptions,
  type OutboxLease,
  type OutboxRow,
  type OutboxStatus,
  type OutboxStore,
  type Rotation,
  type ShardStatus,
} from './store.ts'
export { sequence, type SequenceOptions } from '../ordering/sequence.ts'
export { type Age, type Mark, type SequenceStore, type TransactionalSequenceStore } from '../ordering/store.ts'
