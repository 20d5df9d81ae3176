export { memoryBroker, type MemoryBroker, type MemoryBrokerOptions, type MemoryFaults } from './broker.ts'
export { memoryConsumer, type MemoryConsumer, type MemoryConsumerOptions } from './consumer.ts'
export { memoryIdempotencyStore, type MemoryIdempotencyStoreOptions } from '../../idempotency/memory-store.ts'
