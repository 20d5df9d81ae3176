export { exponential, type Backoff, type BackoffOptions } from './backoff.ts'
export { retryBudget, type RetryBudget, type RetryBudgetOptions } from './budget.ts'
export { bulkhead, type Bulkhead, type BulkheadOptions } from './bulkhead.ts'
export {
  circuitBreaker,
  type CircuitBreaker,
  type CircuitBreakerOptions,
  type CircuitRunOptions,
} from './circuit-breaker.ts'
export type {
  CircuitAnswer,
  CircuitExchange,
  CircuitLine,
  CircuitRegister,
  Circuits,
  CircuitSight,
  Limits,
  PlacesRequest,
  TokenRequest,
} from './store.ts'
export { dependencyErrors } from './circuit/looks-down.ts'
export {
  defaultRecovery,
  otherwise,
  recovery,
  when,
  type Decision,
  type ErrorTest,
  type Recovery,
  type RecoveryRule,
  type RetryRuleOptions,
  type When,
} from './recovery.ts'
export { retry, type RetryOptions } from './retry.ts'
export { timeout, type TimeoutOptions } from './timeout.ts'
export { rateLimit, type RateLimitOptions } from './rate-limit.ts'
