export { asyncApi } from './asyncapi.ts'
export { catalogue } from './catalogue/page.ts'
export { misfits, type Misfit } from './compatibility/misfits.ts'
export {
  checkContracts,
  lockContracts,
  type Breach,
  type Compatibility,
  type ContractLock,
  type LockedContract,
  type LockedVersion,
} from './compatibility/lock.ts'
export {
  contract,
  versionHeader,
  type About,
  type Contract,
  type ContractOptions,
  type Deprecation,
  type NoSchemas,
  type OlderSchemas,
  type OlderVersion,
} from './contract.ts'
export { contractDrift, type Drift, type DriftOptions, type SeenEdge } from './drift.ts'
export { contractGraph } from './graph.ts'
export { lintContracts, type Finding } from './lint.ts'
export type { ContractSchema, InputOf, JsonSchema, OutputOf } from './schema.ts'
export { service, type Consumes, type Service, type ServiceOptions } from './service.ts'
