import type { Bytes, Message } from './message.ts'
import type { Following, ParkedRun, Parking, ParkingTerms } from './parking.ts'

/** One attempt at one message. It is a plain object: widen it with `{ ...delivery, tx }`. */
export interface Delivery<Body = unknown> {
  readonly message: Message<Body>
  /** The body as it arrived, before decoding. `null` if the pipeline's entry body was not bytes. */
  readonly bytes: Bytes
  /** The name of the pipeline that handles it. */
  readonly pipeline: string
  readonly origin: Origin
  /** The number of this attempt: handler starts for this message so far, this one included. */
  readonly attempt: number
  /** Aborts when the handler should stop: shutdown, partition lost, lease lost or time-out. */
  readonly signal: AbortSignal
  /**
   * Aborts when shutdown begins, before `signal` does. Waiting work gives up at once; running work may finish. Missing when
   * the transport does not tell the two moments apart.
   */
  readonly draining?: AbortSignal
  /** True if the transport knows that no process ever started this message before. @defaultValue `false` */
  readonly first?: boolean
  /** True if an operator moved the group back, and the message comes again by that. Only transports that can be moved back set it. */
  readonly replay?: boolean
  /** The scope of its own in which `idempotency()` claims this message of a replay. Missing: the ordinary scope. */
  readonly replayScope?: string
  /** The transport's own message object. */
  readonly raw: unknown
  /** Set by `parking()`: how the claim inside asks for the key's lane. */
  readonly parking?: Parking
  /** Set if a parking worker runs the message again. */
  readonly parked?: ParkedRun
  /** Set by a consumer that hands over several messages of a parked key at once. */
  readonly following?: Following
}

/** Where a message came from. */
export interface Origin {
  /** The transport: `kafka`, `memory`, `direct`, … */
  readonly system: string
  readonly destination: string
  readonly partition: string | null
  readonly position: string | null
  readonly group: string | null
  /** RabbitMQ's: by what the exchange chose the queue. */
  readonly routingKey?: string
}

/** How a message was acked. Every return is an ack. */
export type Outcome = 'handled' | 'duplicate' | 'stale' | 'parked' | 'dead-lettered' | 'discarded'

/** The rest of the pipeline. A return is an ack, a throw is a nack. */
export type Step<D> = (delivery: D) => Promise<Outcome>

/** Wraps a step. `Adds` is what it puts on the delivery for everything inside it, `Needs` what must be there already. */
export interface Middleware<Adds = unknown, Needs = Delivery> extends Typed<Needs, Adds> {
  <D extends Needs>(next: Step<D & Adds>, place?: Place): Step<D>
}

/** The types that `use()` reads off a middleware. A plain function without them is accepted too. */
export interface Typed<Needs, Adds> {
  /** Never set: it only carries the two types. */
  readonly types?: ((delivery: Needs) => Adds) | undefined
  readonly stage?: Stage | undefined
}

/** The position of a middleware. The pipeline passes it once, when it is built. */
export interface Place {
  readonly pipeline: string
  /** The stages outside this one, outermost first. */
  readonly outside: readonly Stage[]
  /** The stages inside this one, outermost first. */
  readonly inside: readonly Stage[]
}

/** What a stage tells the order check and `describe()`. */
export interface Stage {
  readonly name: string
  readonly facts?: Facts
  /** Stages that this one must not be inside, each with the reason. */
  readonly notInside?: Readonly<Record<string, string>>
  /** Stages that must be outside this one if they are present, each with the reason. */
  readonly wantsOutside?: Readonly<Record<string, string>>
  /** Stages that this one needs outside it, each with the reason. */
  readonly needs?: Readonly<Record<string, string>>
  /** Stages that may not be in the same pipeline, each with the reason. A stage's own name forbids a second one. */
  readonly excludes?: Readonly<Record<string, string>>
  /** The store of the claims, `true` if handlers may run without one. Another stage may have to use the same object. */
  readonly keeper?: object | true
  /** What a parking worker must know of the stage. */
  readonly parking?: ParkingTerms
}

/** The numbers from which `describe()` computes the worst cases. A stage states those that it knows. */
export interface Facts {
  readonly maxAttempts?: number
  /** The longest wait between two attempts, in ms. */
  readonly maxDelayMs?: number
  readonly timeoutMs?: number
  /** Ms after `timeoutMs` until a handler that still runs is given up. */
  readonly abandonAfterMs?: number
  readonly leaseMs?: number
  /** How long a completed key is kept, in ms. */
  readonly retainMs?: number
  readonly maxConcurrent?: number
  /** What the idempotency keys are made of. */
  readonly keys?: 'message id' | 'digest of the bytes' | 'a function'
  /** The number of connections in the stage's pool. */
  readonly poolSize?: number
  /** Which kind of store keeps the claims: `postgresql`, `redis`, `memory`. */
  readonly store?: string
  /** `'inside'`: first deliveries are claimed in the handler's transaction. Missing: before the handler. */
  readonly claim?: 'inside'
  /** Whether that store can complete a claim inside the handler's transaction. */
  readonly completesInTransaction?: boolean
  /** The dependency of a circuit, and who shares it. */
  readonly circuit?: string
  /** How many handlers a limit lets start, and who shares it. */
  readonly limit?: string
  /** The database whose transaction the stage opens. */
  readonly database?: string
  /** Which messages wait outside the transport, and what waits with them. */
  readonly parks?: string
}

/** Gives a middleware its stage. */
export function staged<M extends object>(middleware: M, stage: Stage): M {
  return Object.assign(middleware, { stage })
}

/** What `idempotency()` adds to the delivery: the fence for external effects, and the claim for the stages inside. */
export interface Claimed {
  /** Grows with every claim of a key. A target that refuses lower fences than it has seen refuses writes of lost claims. */
  readonly fence: bigint
  readonly claim: Claim
}

export interface Claim {
  /**
   * Completes the claim as the last statement of the caller's transaction. Missing if the store cannot do that.
   * @throws RetryLater when the claim was lost: roll back.
   */
  readonly completeIn?: (tx: StatementRunner) => Promise<void>
  /**
   * Claims and completes the key as the first statement of the caller's transaction. Resolves to the fence. Present only on
   * first deliveries of `idempotency({ claim: 'inside' })`; those have no `completeIn`.
   * @throws RetryLater when the key is completed or claimed already: roll back.
   */
  readonly claimIn?: (tx: StatementRunner) => Promise<bigint>
  /**
   * Looks at the clock, and throws if the lease is over. A process that stood still gets its answers before its timers: its
   * signal has not aborted yet. The pipeline calls it last before the handler. Call it before work of your own.
   * @throws RetryLater when the lease is over.
   */
  readonly ensureHeld?: () => void
}

/** The last look before work begins. */
export function ensureHeld({ claim }: Delivery & Partial<Claimed>): void {
  claim?.ensureHeld?.()
}

/** What a store needs of the caller's transaction. */
export interface StatementRunner {
  query(
    text: string,
    values: unknown[],
  ): Promise<{ readonly rows: readonly unknown[]; readonly rowCount: number | null }>
}

/** What a transaction stage adds: `tx` is the client's own object. The stages inside use the same transaction through `runner`. */
export interface Transactional<Tx> {
  readonly tx: Tx
  readonly runner: StatementRunner
}

/** What a caller of `dispatch()` says about a message. The rest has defaults. */
export interface Incoming<Body = Bytes> {
  readonly message: Pick<Message<Body>, 'id' | 'body'> & Partial<Message<Body>>
  readonly origin?: Partial<Origin>
  readonly attempt?: number
  readonly first?: boolean
  readonly signal?: AbortSignal
  readonly raw?: unknown
}
