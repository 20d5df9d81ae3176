export { metrics, processMetrics, type MetricsOptions, type ProcessMetricsOptions } from './metrics.ts'
export { type HasTokens, type Watched } from '../core/recorder/recorder.ts'
