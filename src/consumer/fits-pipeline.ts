import type { Stage } from '../core/delivery.ts'
import { factsOf } from '../core/describe.ts'
import { HoldfastError } from '../core/errors.ts'
import type { ConsumerOptions } from './consumer.ts'

/** Which settings of a consumer contradict its pipeline. */
export function misfits(
  { concurrency, drainMs }: { readonly concurrency: number; readonly drainMs: number },
  stages: readonly Stage[],
): readonly string[] {
  const { timeoutMs, maxConcurrent = concurrency, poolSize } = factsOf(stages)
  const wrong: string[] = []
  if (timeoutMs !== undefined && timeoutMs > drainMs)
    wrong.push(
      `drainMs (${drainMs}) must be at least the pipeline's timeout (${timeoutMs}): every hand-over would cut off handlers that are in time`,
    )
  const running = Math.min(concurrency, maxConcurrent)
  if (poolSize !== undefined && running > poolSize)
    wrong.push(
      `concurrency (${running}) must not exceed the transaction's pool (${poolSize}): the rest would wait for a connection with their leases running`,
    )
  return wrong
}

/** @throws HoldfastError `bad-option` naming all that contradicts the pipeline. */
export function requireFit(
  where: string,
  { concurrency = 64, drainMs = 20_000, pipeline }: Pick<ConsumerOptions, 'concurrency' | 'drainMs' | 'pipeline'>,
): void {
  const wrong = misfits({ concurrency, drainMs }, pipeline.stages)
  if (wrong.length > 0) throw new HoldfastError('bad-option', `${where}: ${wrong.join('; ')}`)
}

/** What is merely worth knowing of a pipeline. */
export function pipelineNotes(stages: readonly Stage[]): readonly string[] {
  const hasTimeout = factsOf(stages).timeoutMs !== undefined
  return hasTimeout || !stages.some(({ name }) => name === 'idempotency')
    ? []
    : ['no timeout(): a handler that hangs holds its key until the process ends']
}
