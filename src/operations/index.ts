export { claimText, explanationAsMermaid, explanationOf, type Explanation, type Happening } from './explain.ts'
export { journal, type Journal, type JournalOptions } from './journal.ts'
export {
  logRecordOf,
  operatorLogExport,
  otlpOf,
  type LogRecordSink,
  type OperatorLogExportOptions,
  type OperatorLogRecord,
} from './log-records.ts'
export { maskValues, shownBody, type Mask } from './mask.ts'
export { operations, type Operations, type OperationsOptions, type Overview, type ShownLetter } from './operations.ts'
export type * from './store.ts'
export {
  certificateCheck,
  clientChecks,
  destinationCheck,
  examine,
  isOlder,
  pipelineChecks,
  poolCheck,
  redisCheck,
  type DescribedPipeline,
  type PipelineSurroundings,
  type Report,
} from './doctor.ts'
