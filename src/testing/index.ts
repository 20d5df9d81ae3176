export { type ContractCase } from './contract.ts'
export { fakeClock, type FakeClock, type FakeClockOptions } from './fake-clock.ts'
export { type IdempotencyStoreHarness } from './idempotency-store-bench.ts'
export { idempotencyStoreContract } from './idempotency-store-contract.ts'
export type { OutboxStoreHarness, OutboxTestMessage, OutboxTestTransaction } from './outbox-store-bench.ts'
export { outboxStoreContract } from './outbox-store-contract.ts'
export { publisherContract, type Outage, type PublisherHarness } from './publisher-contract.ts'
export { transportContract } from './transport-contract.ts'
export type {
  TestConsumer,
  TestConsumerOptions,
  TestTransport,
  TransportFeatures,
  TransportUnderTest,
} from './transport-under-test.ts'
export { chaos, type ChaosOptions, type ChaosTarget, type MakesConsumer } from './chaos.ts'
export { keyed, type Effects, type Travelling } from './effects.ts'
export { expectResilient, type ExpectResilientOptions } from './expect-resilient.ts'
export { explore, ResilienceError, type Explored, type ExploreOptions } from './explore.ts'
export { allFaults, type Fault } from './faults.ts'
export { allInvariants, invariant, type Invariant, type InvariantName } from './invariants.ts'
export { type Fate, type Ledger, type LedgerEntry, type SentMessage } from './ledger.ts'
export { simulate } from './simulate.ts'
export { type SimulatedAnswer, type SimulatedClient, type SimulatedPool } from './simulated-database.ts'
export { type Kit } from './world.ts'
