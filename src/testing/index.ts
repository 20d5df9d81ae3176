export { type ContractCase } from './contracts/contract.ts'
export { fakeClock, type FakeClock, type FakeClockOptions } from './fake-clock.ts'
export { type IdempotencyStoreHarness } from './contracts/idempotency-store-bench.ts'
export { idempotencyStoreContract } from './contracts/idempotency-store-contract.ts'
export type { OutboxStoreHarness, OutboxTestMessage, OutboxTestTransaction } from './contracts/outbox-store-bench.ts'
export { outboxStoreContract } from './contracts/outbox-store-contract.ts'
export { parkingStoreContract } from './contracts/parking-store-contract.ts'
export { type ParkingStoreHarness } from './contracts/parking-store-bench.ts'
export { resultStoreContract, type ResultStoreHarness } from './contracts/result-store-contract.ts'
export { publisherContract, type Outage, type PublisherHarness } from './contracts/publisher-contract.ts'
export { transportContract } from './contracts/transport-contract.ts'
export type {
  TestConsumer,
  TestConsumerOptions,
  TestTransport,
  TransportFeatures,
  TransportUnderTest,
} from './contracts/transport-under-test.ts'
export { chaos, type ChaosOptions, type ChaosTarget, type MakesConsumer } from './chaos.ts'
export { watchDeliveries, type DeliveryWatch, type Watched, type WatchDeliveriesOptions } from './deliveries.ts'
export { keyed, type Effects, type Travelling } from './effects.ts'
export { expectResilient, type ExpectResilientOptions } from './expect-resilient.ts'
export { explore, ResilienceError, type Explored, type ExploreOptions } from './explorer/explore.ts'
export { allFaults, type Fault } from './world/faults.ts'
export { allInvariants, invariant, type Invariant, type InvariantName } from './world/invariants.ts'
export { type Fate, type Ledger, type LedgerEntry, type SentMessage } from './world/ledger.ts'
export { simulate } from './world/simulate.ts'
export { type SimulatedAnswer, type SimulatedClient, type SimulatedPool } from './world/simulated-database.ts'
export { type Kit } from './world/world.ts'
