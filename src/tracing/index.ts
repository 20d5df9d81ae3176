export {
  otelMetrics,
  otelProcessMetrics,
  type OtelMetricsOptions,
  type OtelProcessMetricsOptions,
} from './otel-metrics.ts'
export { type PropagationOptions, withoutTracing } from './propagation.ts'
export { tracedCreate, tracedPublish, type TracedPublishOptions } from './traced-publish.ts'
export { tracedSettles, type TracedSettlesOptions } from './traced-settles.ts'
export { tracedBatch, tracing, type TracingOptions } from './tracing.ts'
export { type HasTokens, type Watched } from '../core/recorder/recorder.ts'
