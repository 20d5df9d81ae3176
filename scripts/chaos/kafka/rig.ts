import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs, { type Admin, type Kafka, type KafkaConfig, type Message, type Producer } from 'kafkajs'
import pg from 'pg'
import type { Delivery, Middleware } from '../../../src/core/delivery.ts'
import { subscribe, type ConsumerChange } from '../../../src/core/events.ts'
import type { TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import type { Outgoing } from '../../../src/core/publisher.ts'
import { retry } from '../../../src/retry/retry.ts'
import { migrate, postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import {
  kafkajsConsumer,
  kafkajsPublisher,
  type KafkajsConsumerOptions,
} from '../../../src/transports/kafkajs/index.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Report, RunHow } from '../scenario.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import { effectsSoFar, ledgerOf, prepare } from './ledger.ts'
import { createTopic, lagOf, numbered } from './topics.ts'

export interface RigOptions {
  /** @defaultValue the server that everybody shares */
  readonly brokers?: readonly string[]
  /** @defaultValue 6 */
  readonly partitions?: number
  readonly topicConfig?: Readonly<Record<string, string>>
  /** @defaultValue 50 */
  readonly keys?: number
}

export interface OnceOptions {
  /** What the handler does before its effect. */
  readonly before?: (delivery: Delivery) => Promise<unknown>
  /** Another store, such as a broken one. */
  readonly store?: TransactionalIdempotencyStore
  /** A stage around the transaction, inside the retries. */
  readonly around?: Middleware
}

/** One managed consumer in this process, with a client of its own. */
export interface RunningMember {
  /** Finishes what was started and leaves the group. */
  stop(): Promise<void>
}

export type MemberOptions = Partial<KafkajsConsumerOptions> & { readonly client?: Partial<KafkaConfig> }

/** A topic, a group and a schema of one run's own, and all that a scenario on Kafka and PostgreSQL needs. */
export interface KafkaRig {
  /** Of the topic, the group and the schema. */
  readonly name: string
  readonly brokers: readonly string[]
  readonly postgresUrl: string
  readonly kafka: Kafka
  readonly admin: Admin
  readonly producer: Producer
  readonly random: () => number
  /** For claims and renewals; the handlers' transactions have a pool of their own. */
  readonly store: TransactionalIdempotencyStore
  readonly work: pg.Pool
  /** Deliveries that went into the pipeline, and how many of them were duplicates. */
  readonly counts: { deliveries: number; duplicates: number }
  /** The outermost stage: counts what comes in. */
  readonly counted: Middleware
  /** The usual pipeline: one effect for each message, after `before`. */
  once(options?: OnceOptions): Pipeline
  /** The effect of a message: one row, in the transaction that completes its claim. */
  effect(delivery: Delivery & { readonly tx: pg.PoolClient }): Promise<void>
  produce(count: number, change?: (message: Message, n: number) => Message): Promise<void>
  /** Publishes messages of the scenario's own, numbered like those of `produce`. */
  publish(messages: readonly Outgoing[]): Promise<void>
  readonly produced: number
  start(pipeline: Pipeline, options?: MemberOptions): RunningMember
  /** What the consumers in this process said of themselves. */
  readonly changes: readonly ConsumerChange[]
  /** How often they said one thing. */
  changed(change: string): number
  effects(): Promise<number>
  /** The ids of the messages that had their effect. */
  handled(): Promise<ReadonlySet<string>>
  lag(): Promise<number>
  /** The topic of the dead letters. */
  readonly deadLetters: string
  /** What became of everything that was produced; what was dead-lettered is not lost. */
  figures(dead?: Iterable<string>): Promise<Pick<Report, 'messages' | 'lost' | 'doubled' | 'outOfOrder'>>
  /** Waits until something is true; fails by its name where that takes too long. */
  until(what: string, isTrue: () => boolean | Promise<boolean>, withinMs?: number): Promise<void>
  /** Waits for that many effects and for the end of the lag; gives up, without an error, once nothing moves any more. */
  settle(effects: number, stalledMs?: number): Promise<void>
}

const poolSize = 48
/** As short as the sessions, so that what a member leaves behind is soon free. */
export const leaseMs = 3000

const straightOn: Middleware = (next) => next

/** Makes a rig, runs a scenario on it, and removes all that either has left behind. */
export async function withKafkaRig(
  how: RunHow,
  { brokers: given, partitions = 6, topicConfig, keys = 50 }: RigOptions,
  run: (rig: KafkaRig) => Promise<Report>,
): Promise<Report> {
  const name = uniqueName('proof')
  const deadLetters = `${name}.dead-letters`
  const brokers = given ?? how.url('kafka').split(',')
  const postgresUrl = how.url('postgres')
  const kafka = client()
  const admin = kafka.admin()
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  const claims = poolOf(4)
  const work = poolOf(poolSize)
  const random = seeded(how.seed)
  const counts = { deliveries: 0, duplicates: 0 }
  const members: RunningMember[] = []
  const changes: ConsumerChange[] = []
  const unsubscribe = [
    subscribe('duplicate-seen', ({ delivery }) => {
      if (delivery.pipeline === name) counts.duplicates++
    }),
    subscribe('consumer-changed', (change) => {
      if (change.group === name) changes.push(change)
    }),
  ]
  let produced = 0

  function client(config: Partial<KafkaConfig> = {}): Kafka {
    return new kafkajs.Kafka({
      brokers: [...brokers],
      logLevel: kafkajs.logLevel.NOTHING,
      // A service that is to outlast an outage asks again every few seconds.
      retry: { initialRetryTime: 200, maxRetryTime: 3000, retries: 8 },
      ...config,
    })
  }

  function poolOf(max: number): pg.Pool {
    const pool = new pg.Pool({ connectionString: postgresUrl, max })
    pool.on('error', () => {})
    return pool
  }

  function start(pipeline: Pipeline, { client: config, ...options }: MemberOptions = {}): RunningMember {
    const stopping = new AbortController()
    const running = kafkajsConsumer({
      kafka: client(config),
      groupId: name,
      topics: [name],
      pipeline,
      concurrency: 16,
      sessionMs: 3000,
      heartbeatMs: 200,
      rebalanceMs: 10_000,
      drainMs: 5000,
      commitEveryMs: 100,
      redeliverMs: 100,
      ...options,
    }).run(stopping.signal)
    running.catch((error: unknown) => how.say(`a member ended: ${String(error)}`))
    const member: RunningMember = {
      async stop() {
        stopping.abort(new Error('the run stops it'))
        await running
      },
    }
    members.push(member)
    return member
  }

  async function until(what: string, isTrue: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> {
    const deadlineMs = performance.now() + withinMs
    while (!(await isTrue())) {
      how.signal.throwIfAborted()
      if (performance.now() > deadlineMs) throw new Error(`not within ${withinMs} ms: ${what}`)
      await sleep(50)
    }
  }

  const rig: KafkaRig = {
    name,
    brokers,
    postgresUrl,
    kafka,
    admin,
    producer,
    random,
    store: postgresIdempotencyStore(claims, { schema: name }),
    work,
    counts,
    counted: (next) =>
      function counted(delivery) {
        counts.deliveries++
        return next(delivery)
      },
    once: ({ before, store = rig.store, around = straightOn } = {}) =>
      pipeline(name)
        .use(rig.counted)
        .use(idempotency({ store, leaseMs }))
        .use(retry({ maxAttempts: 1000 }))
        .use(around)
        .use(transaction<pg.PoolClient>(work))
        .handle(async (delivery) => {
          await before?.(delivery)
          await rig.effect(delivery)
        }),
    async effect({ message, tx }) {
      await tx.query(`insert into ${name}.effects (id, key, n, pid) values ($1, $2, $3, $4)`, [
        message.id,
        message.key,
        Number(message.id.slice(1)),
        process.pid,
      ])
    },
    async produce(count, change = (message) => message) {
      for (let left = count; left > 0; left -= 1000) {
        const batch = numbered(produced, Math.min(1000, left), keys, random)
        const first = produced
        produced += batch.length
        await producer.send({ topic: name, messages: batch.map((message, at) => change(message, first + at)) })
      }
    },
    async publish(messages) {
      produced += messages.length
      await kafkajsPublisher(producer).publish(messages)
    },
    get produced() {
      return produced
    },
    start,
    changes,
    changed: (change) => changes.filter((each) => each.change === change).length,
    effects: () => effectsSoFar(work, name),
    async handled() {
      const { rows } = await work.query<{ id: string }>(`select distinct id from ${name}.effects`)
      return new Set(rows.map(({ id }) => id))
    },
    lag: () => lagOf(admin, name, name),
    deadLetters,
    async figures(dead = []) {
      const { doubled, outOfOrder } = await ledgerOf(work, name, produced)
      const settled = new Set([...(await rig.handled()), ...dead])
      const lost = Array.from({ length: produced }, (_, n) => `m${n}`).filter((id) => !settled.has(id)).length
      return { messages: produced, lost, doubled, outOfOrder }
    },
    until,
    async settle(wanted, stalledMs = 30_000) {
      let [best, movedMs] = [-Infinity, performance.now()]
      for (;;) {
        how.signal.throwIfAborted()
        const effects = await rig.effects()
        const lag = await rig.lag()
        if (effects >= wanted && lag === 0) return
        const moved = effects - lag
        if (moved > best) [best, movedMs] = [moved, performance.now()]
        if (performance.now() - movedMs > stalledMs) return
        await sleep(200)
      }
    },
  }

  try {
    await Promise.all([admin.connect(), producer.connect(), migrate(work, { schema: name })])
    await prepare(work, name)
    await createTopic(admin, name, partitions, topicConfig)
    await createTopic(admin, deadLetters, 1)
    return await run(rig)
  } finally {
    for (const end of unsubscribe) end()
    await Promise.allSettled(members.map((member) => member.stop()))
    await admin.deleteTopics({ topics: [name, deadLetters] }).catch(() => {})
    await Promise.allSettled([admin.disconnect(), producer.disconnect()])
    await work.query(`drop schema if exists ${name} cascade`).catch(() => {})
    await Promise.all([claims.end(), work.end()])
  }
}
