export { type PartEnd, type Runnable } from '../core/background.ts'
export {
  handledBy,
  Handles,
  pipelineToken,
  type HandledPipeline,
  type HandlesDecorator,
  type PipelineToken,
} from './handles.ts'
export { Holdfast, HoldfastHealthIndicator, type HoldfastModuleOptions, type IndicatorResult } from './holdfast.ts'
export { HoldfastModule, type HoldfastModuleAsyncOptions } from './module.ts'
