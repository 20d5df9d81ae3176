/** One answer for each request, in their order. */
export type Send<Request, Answer> = (requests: readonly Request[]) => Promise<readonly Reply<Answer>[]>
export type Reply<Answer> = Answer | Refused | undefined

/** The answer of a request that failed where its company did not. */
export class Refused {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

export interface BatcherOptions<Request, Answer> {
  readonly send: Send<Request, Answer>
  readonly maxBatch: number
  /** How many batches may travel at once. */
  readonly maxInFlight: number
}

/**
 * Lets requests travel together. Nothing waits for company: an idle batcher sends what the current turn of the event
 * loop brings, a busy one what came in meanwhile.
 */
export function batcher<Request, Answer>({
  send,
  maxBatch,
  maxInFlight,
}: BatcherOptions<Request, Answer>): (request: Request, signal?: AbortSignal) => Promise<Answer> {
  let waiting: Waiting<Request, Answer>[] = []
  let inFlight = 0
  let scheduled = false

  function flush(): void {
    scheduled = false
    if (waiting.some(isAborted)) waiting = waiting.filter((each) => !refused(each))
    while (waiting.length > 0 && inFlight < maxInFlight) {
      const batch = waiting.length <= maxBatch ? waiting : waiting.slice(0, maxBatch)
      waiting = waiting.length <= maxBatch ? [] : waiting.slice(maxBatch)
      inFlight++
      void fly(batch)
    }
  }

  async function fly(batch: readonly Waiting<Request, Answer>[]): Promise<void> {
    try {
      const answers = await send(batch.map(({ request }) => request))
      batch.forEach(({ resolve, reject }, at) => {
        const answer = answers[at]
        if (answer === undefined) reject(tooFew())
        else if (answer instanceof Refused) reject(answer.error)
        else resolve(answer)
      })
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
    inFlight--
    flush()
  }

  return function ask(request, signal) {
    return new Promise((resolve, reject) => {
      const one = { request, signal, resolve, reject }
      if (refused(one)) return
      waiting.push(one)
      if (scheduled || inFlight >= maxInFlight) return
      scheduled = true
      // An immediate comes after the promises of this turn: requests that started together travel together.
      setImmediate(flush)
    })
  }
}

/** What nobody waits for any more is not sent. */
function refused({ signal, reject }: Called): boolean {
  if (signal?.aborted !== true) return false
  reject(signal.reason)
  return true
}

function isAborted({ signal }: Called): boolean {
  return signal?.aborted === true
}

interface Called {
  readonly signal: AbortSignal | undefined
  readonly reject: (error: unknown) => void
}

interface Waiting<Request, Answer> extends Called {
  readonly request: Request
  readonly resolve: (answer: Answer) => void
}

/**
 * Settles requests for the same thing before they travel, for stores that take each thing once in a statement.
 * `same` names the thing. `follow` answers a request from what was asked and answered first, or `undefined` where only
 * the store can tell: such a request travels in the next round.
 */
export function onceEach<Request, Answer>(
  send: Send<Request, Answer>,
  same: (request: Request) => string,
  follow: (request: Request, first: Request, answer: Answer) => Answer | undefined,
): Send<Request, Answer> {
  return async function sendOnceEach(requests): Promise<readonly Reply<Answer>[]> {
    const places = new Map<string, number>()
    const firsts: Request[] = []
    const placeOf = requests.map((request) => {
      const name = same(request)
      const known = places.get(name)
      if (known !== undefined) return known
      places.set(name, firsts.length)
      return firsts.push(request) - 1
    })
    if (firsts.length === requests.length) return send(requests)
    const firstAnswers = await send(firsts)
    const answers = requests.map((request, at) => {
      const place = placeOf[at] ?? -1
      const first = firsts[place]
      const answer = firstAnswers[place]
      if (first === undefined || answer === undefined) throw tooFew()
      return first === request || answer instanceof Refused ? answer : follow(request, first, answer)
    })
    const open = requests.filter((_, at) => answers[at] === undefined)
    if (open.length === 0) return answers
    const later = (await sendOnceEach(open)).values()
    return answers.map((answer) => answer ?? later.next().value)
  }
}

/**
 * Requests whose company failed are sent again one by one, so that nobody suffers for another's fault.
 * `isOnes` says whether a failure may be one request's; `instead` may answer for that one.
 */
export function apart<Request, Answer>(
  send: Send<Request, Answer>,
  isOnes: (error: unknown) => boolean,
  instead: (error: unknown) => Answer | undefined = () => undefined,
): Send<Request, Answer> {
  return async function sendApart(requests) {
    try {
      return await send(requests)
    } catch (error) {
      if (!isOnes(error)) throw error
      if (requests.length === 1) return [instead(error) ?? new Refused(error)]
    }
    const answers: Reply<Answer>[] = []
    for (const request of requests) answers.push(...(await sendApart([request])))
    return answers
  }
}

function tooFew(): Error {
  return new Error('the store answered fewer requests than it was asked')
}
