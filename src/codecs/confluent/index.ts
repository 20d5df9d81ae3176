export {
  confluent,
  publishConfluent,
  type ConfluentOptions,
  type ConfluentReader,
  type PublishConfluentOptions,
} from './confluent.ts'
export type { RegisteredSchema, SchemaRegistry } from './schemas.ts'
