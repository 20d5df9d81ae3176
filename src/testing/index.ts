export { fakeClock, type FakeClock, type FakeClockOptions } from './fake-clock.ts'
export {
  idempotencyStoreContract,
  type ContractCase,
  type IdempotencyStoreHarness,
} from './idempotency-store-contract.ts'
export {
  transportContract,
  type TestConsumer,
  type TestConsumerOptions,
  type TestTransport,
  type TransportFeatures,
  type TransportUnderTest,
} from './transport-contract.ts'
