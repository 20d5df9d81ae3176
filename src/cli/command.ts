import type { Pipeline } from '../core/pipeline.ts'
import type { Operations } from '../operations/index.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from '../stores/postgres/index.ts'

export interface Flag {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  readonly multiple?: boolean
  /** What stands in the help: what it does, and in which form. */
  readonly help: string
}

export type Flags = Readonly<Record<string, Flag>>

/** One entry of the table of commands. */
export interface Command {
  readonly name: string
  readonly summary: string
  readonly flags: Flags
  /** What comes behind the name, as the help shows it: `<letter>`, `[letter…]`. */
  readonly takes?: string
  readonly example: string
  /** Whether it needs no database. `'if-none'`: it uses the one that is configured, and runs without one too. */
  readonly offline?: boolean | 'if-none'
  /** Whether it changes something: it does nothing in a schema of another version. */
  readonly acts?: boolean
  run(context: Context): Promise<number>
}

/** What surrounds the command: a test gives its own. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly columns: number
  /** Whether a person can be asked. */
  readonly interactive: boolean
  readonly signal: AbortSignal
  out(text: string): void
  err(text: string): void
  ask(question: string): Promise<string>
  readInput(): AsyncIterable<string>
}

export type CliPool = Queryable & PoolSlice<PoolClientSlice>

export interface Context {
  readonly values: Readonly<Record<string, string | boolean | readonly string[] | undefined>>
  readonly args: readonly string[]
  readonly json: boolean
  readonly by: string
  readonly schema: string
  readonly around: Surroundings
  /** Whether there is a database. Without one `ops` and `pool` must not be used. */
  readonly isConnected: boolean
  readonly ops: Operations
  readonly pool: CliPool
  readonly config: Config
}

/** `holdfast.config.{ts,mts,mjs,js}`: its default export. */
export interface Config {
  readonly postgres?: string
  readonly schema?: string
  /** Pipelines for `doctor` to look at. */
  readonly pipelines?: readonly unknown[]
  /** `redis://…` or a client, for `doctor`. */
  readonly redis?: unknown
  /** Servers whose certificates `doctor` looks at: `host:port`. */
  readonly tls?: readonly string[]
  /** Pools of the service by name: `doctor` looks whether somebody hears their errors. */
  readonly pools?: Readonly<Record<string, unknown>>
  /** How many handlers a consumer runs at once, for `doctor`. */
  readonly concurrency?: number
  /** How long the broker can bring a message again, in ms, for `doctor`. */
  readonly redeliveryHorizonMs?: number
  /** Topics or queues of dead letters, and how to ask whether one exists, for `doctor`. */
  readonly deadLetters?: {
    readonly destinations: readonly string[]
    readonly exists: (destination: string) => Promise<boolean>
  }
  readonly letters?: (pool: CliPool) => unknown
  /** For `rewind`, by group: `(request) => kafkajsReplay({ kafka, groupId, topics, pipeline, ...request })`. */
  readonly replays?: Readonly<Record<string, (request: RewindRequest) => Promise<RewindReport>>>
  /** For `dlq import --topic`: `({ topic, pipeline, signal }) => kafkajsConsumer({ …, topics: [topic], pipeline }).run(signal)`. */
  readonly consume?: (request: ConsumeRequest) => Promise<unknown>
  /** For `replay promote`, by the first group: `() => kafkajsPromotion({ kafka, groupId, secondGroupId, topics })`. */
  readonly promotions?: Readonly<Record<string, () => Promise<PromotionLook>>>
}

/** A topic or queue to read from its beginning, until the signal aborts. */
export interface ConsumeRequest {
  readonly topic: string
  readonly pipeline: Pipeline
  readonly signal: AbortSignal
}

/** What of a promotion `replay promote` shows. */
export interface PromotionLook {
  readonly first: string
  readonly second: string
  readonly step: 'stop-second' | 'let-first-pass' | 'stop-first' | 'start-second'
  readonly members?: readonly string[]
  readonly until?: Readonly<Record<string, bigint>>
  readonly partitions: readonly { readonly name: string; readonly first: number; readonly second: number }[]
}

/** What `rewind` asks for: the options of every replay but those of the transport. */
export interface RewindRequest {
  readonly from: Date | Readonly<Record<string, number>>
  readonly to?: Date | Readonly<Record<string, number>>
  readonly scope: 'same' | { readonly own: string }
  readonly dryRun?: boolean
  readonly runAgain: boolean
}

/** What of a report `rewind` shows. */
export interface RewindReport {
  readonly messages: number
  readonly replayed: number
  readonly remembered?: number
  readonly members: readonly string[]
  readonly warnings: readonly string[]
  readonly partitions: readonly {
    readonly name: string
    readonly from: number
    readonly to: number
    readonly stood: number
    readonly messages: number
  }[]
  readonly plan: unknown
}
