export { type PropagationOptions, withoutTracing } from './propagation.ts'
export { tracedCreate, tracedPublish, type TracedPublishOptions } from './traced-publish.ts'
export { tracedBatch, tracing, type TracingOptions } from './tracing.ts'
