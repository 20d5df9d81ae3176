export { readDeadLetter, type DeadLetter, type DeadLetterMetadata } from './envelope.ts'
