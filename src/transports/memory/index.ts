export { memoryBroker, type MemoryBroker, type MemoryBrokerOptions, type MemoryFaults } from './broker.ts'
export { memoryConsumer, type MemoryConsumer, type MemoryConsumerOptions } from './consumer.ts'
export { memoryPromotion, memoryReplay, type MemoryPromotionOptions, type MemoryReplayOptions } from './replay.ts'
export { type MemoryIdempotencyStoreOptions } from '../../idempotency/memory-store.ts'
export { memoryIdempotencyStore } from './idempotency-store.ts'
export {
  memoryOutbox,
  memoryOutboxStore,
  type MemoryOutboxOptions,
  type MemoryOutboxStore,
  type MemoryTransaction,
} from '../../outbox/memory-store.ts'
export { memorySequenceStore } from '../../ordering/memory-sequence-store.ts'
export { features } from '../features.ts'
