import type { Bytes, Message } from './message.ts'

/** One attempt at one message. A plain object: `{ ...delivery, tx }` is the way to widen it. */
export interface Delivery<Body = unknown> {
  readonly message: Message<Body>
  /** The body as it arrived, whatever was decoded since; `null` where the entry body never was bytes. */
  readonly bytes: Bytes
  /** The name of the pipeline that handles it. */
  readonly pipeline: string
  readonly origin: Origin
  /** How often the handler was started for this message, this time included. */
  readonly attempt: number
  /** Aborts when the work should stop: shutdown, partition or lease lost, time-out. */
  readonly signal: AbortSignal
  /**
   * Aborts when the process begins to stop, before `signal` does: what only waits gives up at once, and what runs may
   * finish. Missing where the transport tells one moment only.
   */
  readonly draining?: AbortSignal
  /** Whether the transport knows that this message was never started before, by anybody. @defaultValue `false` */
  readonly first?: boolean
  /** What the transport handed over, for the rare need. */
  readonly raw: unknown
}

/** Where a message came from. */
export interface Origin {
  /** The transport: `kafka`, `memory`, `direct`, … */
  readonly system: string
  readonly destination: string
  readonly partition: string | null
  readonly position: string | null
  readonly group: string | null
}

/** Every return is an ack and says how. */
export type Outcome = 'handled' | 'duplicate' | 'stale' | 'parked' | 'dead-lettered' | 'discarded'

/** The rest of the pipeline. A return is an ack, a throw is a nack. */
export type Step<D> = (delivery: D) => Promise<Outcome>

/** Wraps a step. `Adds` is what it puts on the delivery for everything inside it, `Needs` what must be there already. */
export interface Middleware<Adds = unknown, Needs = Delivery> extends Typed<Needs, Adds> {
  <D extends Needs>(next: Step<D & Adds>, place?: Place): Step<D>
}

/** What `use()` reads off a middleware; a plain function has none of it and is welcome. */
export interface Typed<Needs, Adds> {
  /** Never set: it only carries the two types. */
  readonly types?: ((delivery: Needs) => Adds) | undefined
  readonly stage?: Stage | undefined
}

/** Where a middleware stands, told to it once, when the pipeline is built. */
export interface Place {
  readonly pipeline: string
  /** The stages around it, outermost first. */
  readonly outside: readonly Stage[]
  /** The stages within it, outermost first. */
  readonly inside: readonly Stage[]
}

/** What a stage tells the order check and `describe()`. */
export interface Stage {
  readonly name: string
  readonly facts?: Facts
  /** Stage name to the reason why this stage may not stand inside it. */
  readonly notInside?: Readonly<Record<string, string>>
  /** Stage name to the reason why, if that stage is present, it must be outside this one. */
  readonly wantsOutside?: Readonly<Record<string, string>>
  /** Stage name to the reason why this stage does not work without it. */
  readonly needs?: Readonly<Record<string, string>>
  /** Stage name to the reason why the two may not be in one pipeline; its own name forbids a second one. */
  readonly excludes?: Readonly<Record<string, string>>
}

/** The numbers from which `describe()` works out the worst cases. All optional; a stage states what it knows. */
export interface Facts {
  readonly maxAttempts?: number
  /** The longest wait between two attempts. */
  readonly maxDelayMs?: number
  readonly timeoutMs?: number
  /** How much longer than `timeoutMs` an attempt may take before it is given up. */
  readonly abandonAfterMs?: number
  readonly leaseMs?: number
  /** How long a completed key is remembered. */
  readonly retainMs?: number
  readonly maxConcurrent?: number
  /** What the idempotency keys are made of. */
  readonly keys?: 'message id' | 'digest of the bytes' | 'a function'
  /** How many connections the stage's pool has. */
  readonly poolSize?: number
  /** Which kind of store keeps the claims: `postgresql`, `redis`, `memory`. */
  readonly store?: string
  /** Where first deliveries are claimed, unless before the handler. */
  readonly claim?: 'inside'
  /** Whether that store can complete a claim inside the handler's transaction. */
  readonly completesInTransaction?: boolean
  /** The dependency of a circuit, and who shares it. */
  readonly circuit?: string
  /** How many handlers a limit lets start, and who shares it. */
  readonly limit?: string
  /** The database whose transaction the stage opens. */
  readonly database?: string
}

/** Gives a middleware its stage. */
export function staged<M extends object>(middleware: M, stage: Stage): M {
  return Object.assign(middleware, { stage })
}

/** What `idempotency()` adds: the fence for external effects, and the claim for the stages inside. */
export interface Claimed {
  /** Grows with every claim of a key. A target that refuses a lower one than it has seen keeps zombies out. */
  readonly fence: bigint
  readonly claim: Claim
}

export interface Claim {
  /**
   * Completes the claim in the caller's transaction, as its last statement. Missing where the store cannot.
   * @throws RetryLater when the claim was lost: roll back.
   */
  readonly completeIn?: (tx: StatementRunner) => Promise<void>
  /**
   * Claims and completes the key as the first statement of the caller's transaction, and resolves to the fence. Only on
   * first deliveries of an `idempotency({ claim: 'inside' })`, which have no `completeIn`.
   * @throws RetryLater when the key is known or taken: roll back.
   */
  readonly claimIn?: (tx: StatementRunner) => Promise<bigint>
}

/** The least that a store needs of somebody else's transaction. */
export interface StatementRunner {
  query(
    text: string,
    values: unknown[],
  ): Promise<{ readonly rows: readonly unknown[]; readonly rowCount: number | null }>
}

/** What a transaction stage adds: `tx` as its client calls it, and the same for the stages inside, whatever client it is. */
export interface Transactional<Tx> {
  readonly tx: Tx
  readonly runner: StatementRunner
}

/** What a caller outside any transport must know about a message. */
export interface Incoming<Body = Bytes> {
  readonly message: Pick<Message<Body>, 'id' | 'body'> & Partial<Message<Body>>
  readonly origin?: Partial<Origin>
  readonly attempt?: number
  readonly first?: boolean
  readonly signal?: AbortSignal
  readonly raw?: unknown
}
