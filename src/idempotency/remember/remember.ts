import { AsyncLocalStorage } from 'node:async_hooks'
import type { Codec } from '../../core/codec.ts'
import {
  staged,
  type Claimed,
  type Delivery,
  type Incoming,
  type Middleware,
  type Outcome,
  type Place,
  type Step,
  type Transactional,
} from '../../core/delivery.ts'
import { FailedBeforeError, failureFrom, HoldfastError, isRetryLater } from '../../core/errors.ts'
import { anything, callback, checkOptions, count, having, required } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { ResultCipher } from '../../core/result-cipher.ts'
import { storedKeyOf, storedScope } from '../claim-name.ts'
import { idempotency, type IdempotencyOptions } from '../idempotency.ts'
import { keyFromId } from '../key.ts'
import { Answer, asJson, decoded, type Answering, type AnswerTerms } from './answer.ts'
import { read } from './record.ts'
import type { ResultStore } from './store.ts'

export interface RememberOptions<Body = unknown, Result = unknown> extends Omit<
  IdempotencyOptions<Body>,
  'store' | 'mode' | 'claim' | 'onStoreError'
> {
  readonly store: ResultStore
  /** Turns results into bytes and back. @defaultValue JSON */
  readonly codec?: Pick<Codec<Result>, 'encode' | 'decode'>
  /** Largest result that is kept, in bytes. Of a larger one only that is kept: it was too large. @defaultValue 65_536 */
  readonly maxBytes?: number
  /** Encrypts results and errors, as made by `resultCipher()` of `holdfast/encryption`. @defaultValue they are kept as they are */
  readonly cipher?: ResultCipher
}

/** What a caller gets. `repeated`: the handler did not run for this call. */
export type Answered<Result> =
  | { readonly repeated: boolean; readonly found: true; readonly result: Result }
  /**
   * It was done before, but its result is not there: it was too large, its key was destroyed, or it was not kept: the store
   * did not answer, or the message was handled before results were remembered.
   */
  | { readonly repeated: true; readonly found: false; readonly because: 'too-large' | 'erased' | 'not-kept' }

export interface Remember<Body, Result> {
  /** In the place of `idempotency()`, whose promises it keeps. */
  readonly stage: Middleware<Claimed & Answering, Delivery<Body>>
  /** Makes the handler: what `work` returns is kept, in the transaction of the handler if there is one. */
  handler<D extends Delivery<Body>>(
    work: (delivery: D & Answering & Partial<Pick<Transactional<unknown>, 'runner'>>) => Promise<Result> | Result,
  ): (delivery: D & Answering) => Promise<void>
  /**
   * Dispatches a message, and resolves to the result of its handler, or to that of the earlier call with the same key.
   * @throws what the handler threw. `FailedBeforeError` if the earlier call failed for good. `RetryLater` if the key is in
   * progress elsewhere (`holds` is `'lane'`) or the store is down (`'pipeline'`). HoldfastError `key-conflict` if the key is
   * known with another content.
   */
  call<Entry>(pipeline: Pipeline<Entry>, incoming: Incoming<Entry>): Promise<Answered<Result>>
}

/** One `call()` that waits for its result. The first delivery inside takes it. */
interface Call<Result> {
  taken: boolean
  answered?: Answered<Result>
}

/**
 * Remembers what a handler returned, or the error that it failed of for good, as long as its key. It is for callers that wait
 * for a result, such as HTTP requests with an `Idempotency-Key`. Nothing is kept unless you use it.
 * @throws HoldfastError (`bad-option`; `bad-order` with `deadLetter()`, `parking()` or `handleBatch()`)
 */
export function remember<Body = unknown, Result = unknown>(
  options: RememberOptions<Body, Result>,
): Remember<Body, Result> {
  const {
    codec = asJson,
    maxBytes = 65_536,
    cipher,
    ...claimOptions
  } = checkOptions('remember', options, {
    store: required(having('claim', 'keepResult', 'resultOf')),
    codec: having('encode', 'decode'),
    maxBytes: count(),
    cipher: having('seal', 'open'),
    key: callback,
    scope: anything,
    fingerprint: anything,
    leaseMs: anything,
    retainMs: anything,
    clock: anything,
  })
  const { store } = claimOptions
  const { key, scope: given } = claimOptions
  const asked: IdempotencyOptions<Body> = {
    ...claimOptions,
    ...(key !== undefined && { key: once(key) }),
    ...(typeof given === 'function' && { scope: once(given) }),
  }
  const { key: keyOf = keyFromId, scope = (delivery: Delivery<Body>) => delivery.pipeline } = asked
  const claims = idempotency<Body>(asked)
  const terms: AnswerTerms<Result> = { store, codec, maxBytes, cipher }
  const calls = new AsyncLocalStorage<Call<Result>>()

  const nameOf = (delivery: Delivery<Body>) => {
    return { scope: storedScope(delivery, scope), key: storedKeyOf(delivery, keyOf(delivery)) }
  }

  /** What an earlier delivery of the key came to. @throws FailedBeforeError */
  async function earlier(delivery: Delivery<Body>): Promise<Answered<Result>> {
    const name = nameOf(delivery)
    const bytes = await store.resultOf(name.scope, name.key)
    if (bytes === null) return { repeated: true, found: false, because: 'not-kept' }
    const kept = await read(bytes, cipher, name)
    if (kept.kind === 'result') return { repeated: true, found: true, result: await decoded(codec, kept.bytes) }
    if (kept.kind !== 'failure') return { repeated: true, found: false, because: kept.kind }
    const { errorName, errorMessage } = kept.failure
    throw new FailedBeforeError(
      `message ${delivery.message.id} failed for good before: ${errorName}: ${errorMessage}`,
      kept.failure,
    )
  }

  const middleware: Middleware<Claimed & Answering, Delivery<Body>> = <D extends Delivery<Body>>(
    next: Step<D & Claimed & Answering>,
    place?: Place,
  ): Step<D> => {
    refuseBatch(place)
    const step = claims<D & { readonly answer: Answer<Result> }>(async function answered(delivery) {
      const { answer, fence } = delivery
      answer.holds({ ...nameOf(delivery), token: fence })
      let outcome: Outcome
      try {
        outcome = await next(delivery)
        if (answer.value === undefined && outcome === 'handled') throw noResult(delivery)
      } catch (error) {
        if (!isFinal(error, delivery)) throw error
        answer.fail(error, delivery)
        outcome = 'discarded'
      }
      await answer.store(delivery)
      return outcome
    }, place)

    return async function remember(delivery) {
      const call = calls.getStore()
      const mine = call?.taken === false ? call : undefined
      if (mine !== undefined) mine.taken = true
      const answer = new Answer(terms)
      const answering = { ...delivery, answer }
      const outcome = await step(answering)
      if (outcome === 'duplicate') {
        const found = await earlier(answering)
        if (mine !== undefined) mine.answered = found
        return outcome
      }
      // It may have failed a moment ago, and the completion has waited for the store.
      await answer.store(delivery)
      if (answer.failed !== undefined) throw answer.failed.error
      if (mine !== undefined && answer.value !== undefined)
        mine.answered = { repeated: false, found: true, result: answer.value.result }
      return outcome
    }
  }

  const waits = 'its caller waits for the result'
  const stage = staged(middleware, {
    ...claims.stage,
    name: 'idempotency',
    excludes: { ...claims.stage?.excludes, 'dead-letter': waits, parking: waits },
  })

  return {
    stage,
    handler: (work) =>
      async function rememberResult(delivery) {
        const answer: unknown = delivery.answer
        if (!(answer instanceof Answer)) throw noStage(delivery)
        const { runner } = delivery as typeof delivery & Partial<Pick<Transactional<unknown>, 'runner'>>
        await (answer as Answer<Result>).take(await work(delivery), delivery, runner)
      },
    async call(pipeline, incoming) {
      if (stage.stage === undefined || !pipeline.stages.includes(stage.stage))
        throw new HoldfastError(
          'bad-order',
          `remember: the pipeline '${pipeline.name}' has not the stage of this remember()`,
        )
      const call: Call<Result> = { taken: false }
      const outcome = await calls.run(call, () => pipeline.dispatch(incoming))
      if (call.answered !== undefined) return call.answered
      throw new HoldfastError(
        'bad-order',
        `remember: the pipeline '${pipeline.name}' ended with '${outcome}', without a result`,
      )
    },
  }
}

/** A function of the user that names a claim, asked once for each delivery: another answer would be another claim. */
function once<Body, Name>(ask: (delivery: Delivery<Body>) => Name): (delivery: Delivery<Body>) => Name {
  const known = new WeakMap<object, Name>()
  return (delivery) => {
    // Stages make the delivery anew; its answer stays.
    const { answer } = delivery as Delivery<Body> & Partial<Answering>
    if (answer === undefined) return ask(delivery)
    const name = known.get(answer) ?? ask(delivery)
    known.set(answer, name)
    return name
  }
}

/** Whether the handler will not run again for this message, so that its error is the answer. */
function isFinal(error: unknown, { message, attempt }: Delivery): boolean {
  return !isRetryLater(error) && failureFrom(error, message.id, attempt).reason !== 'unhandled'
}

function refuseBatch(place: Place | undefined): void {
  if (place?.inside.some(({ name }) => name === 'batch') === true)
    throw new HoldfastError(
      'bad-order',
      `${place.pipeline}: remember cannot stand outside handleBatch: nobody waits for one of many`,
    )
}

function noResult({ pipeline }: Delivery): HoldfastError {
  return new HoldfastError('bad-order', `remember: give the pipeline '${pipeline}' a handler made by handler()`)
}

function noStage({ pipeline }: Delivery): HoldfastError {
  return new HoldfastError('bad-order', `remember: the pipeline '${pipeline}' needs the stage of the same remember()`)
}
