export { retryBudget, type RetryBudget, type RetryBudgetOptions } from './budget.ts'
export { bulkhead, type BulkheadOptions } from './bulkhead.ts'
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
