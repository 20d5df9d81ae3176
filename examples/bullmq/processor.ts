import { DelayedError, UnrecoverableError, type Processor } from 'bullmq'
import { isPermanent, isRetryLater, type Outcome, type Pipeline } from 'holdfast'

/**
 * A BullMQ processor that runs a pipeline. `RetryLater` becomes a delayed job and costs no attempt, a permanent error
 * fails the job at once, and any other error is BullMQ's to retry (`attempts`, `backoff`).
 */
export function processor<Body>(pipeline: Pipeline<Body>): Processor<Body, Outcome> {
  return async (job, token, signal) => {
    try {
      return await pipeline.dispatch({
        message: { id: job.id ?? job.name, type: job.name, body: job.data, timeMs: job.timestamp },
        origin: { system: 'bullmq', destination: job.queueName },
        attempt: job.attemptsMade + 1,
        raw: job,
        ...(signal !== undefined && { signal }),
      })
    } catch (error) {
      if (isRetryLater(error)) {
        await job.moveToDelayed(Date.now() + error.afterMs, token)
        throw new DelayedError()
      }
      if (isPermanent(error)) throw new UnrecoverableError(error instanceof Error ? error.message : String(error))
      throw error
    }
  }
}
