export { readDeadLetter, type DeadLetter, type DeadLetterMetadata } from './envelope.ts'
export { type Death } from './history.ts'
export { type DeadLetterStore, type ResolvedLetter } from './store.ts'
