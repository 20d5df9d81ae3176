export { fakeClock, type FakeClock, type FakeClockOptions } from './fake-clock.ts'
export {
  idempotencyStoreContract,
  type ContractCase,
  type IdempotencyStoreHarness,
} from './idempotency-store-contract.ts'
