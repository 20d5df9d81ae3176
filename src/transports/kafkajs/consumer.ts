import type { Consumer, EachBatchPayload } from 'kafkajs'
import { sleep, systemClock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import { badOption, requireCount, requireMethods, requireMs, requireText } from '../../core/options.ts'
import { lanes } from '../../consumer/lanes.ts'
import { attemptAfter } from '../../consumer/redelivery.ts'
import { assignment, sizeOf, type Item, type Owned } from './assignment.ts'
import { checkKafka } from './check-kafka.ts'
import { deliveryFrom } from './codec.ts'
import { committer } from './committer.ts'
import { consumerHealth } from './consumer-health.ts'
import type { KafkajsConsumer, KafkajsConsumerOptions } from './consumer-options.ts'
import { joinGate } from './join-gate.ts'
import { asError, faultOf } from './kafka-errors.ts'
import { isGone, liveness, type Liveness } from './liveness.ts'
import { lostOffsets } from './lost-offsets.ts'
import { checkSettings } from './settings.ts'

const consumerChanged = emitter('consumer-changed')
const leaveMs = 5000
const answerMs = 3000

/**
 * The managed consumer: many keys at once, each in order; commits only what is done without a gap; finishes what it
 * started before every rebalance and before it stops.
 */
export function kafkajsConsumer({
  kafka,
  groupId,
  topics,
  pipeline,
  concurrency = 64,
  ahead = 256,
  buffer = 1000,
  id,
  redeliverMs = 1000,
  drainMs = 20_000,
  commitEveryMs = 250,
  sessionMs = 30_000,
  rebalanceMs = 60_000,
  heartbeatMs = 1000,
  maxWaitMs = 300,
  hungAfterMs = 300_000,
  settings = {},
  clock = systemClock,
}: KafkajsConsumerOptions): KafkajsConsumer {
  requireMethods('kafkajsConsumer', 'kafka', kafka, ['consumer', 'admin'])
  requireMethods('kafkajsConsumer', 'pipeline', pipeline, ['step'])
  requireText('kafkajsConsumer', { groupId })
  requireCount('kafkajsConsumer', { concurrency, ahead, buffer })
  requireMs('kafkajsConsumer', {
    redeliverMs,
    drainMs,
    commitEveryMs,
    sessionMs,
    rebalanceMs,
    heartbeatMs,
    maxWaitMs,
    hungAfterMs,
  })
  if (topics.length === 0) throw badOption('kafkajsConsumer', 'topics', 'a list of at least one topic', topics)
  requireText('kafkajsConsumer', Object.fromEntries(topics.map((topic, at) => [`topics[${at}]`, topic])))
  const notes = checkSettings({ concurrency, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, drainMs }, pipeline.stages)

  const state = { joined: false, crashed: undefined as Error | undefined, silent: false, stopping: false }
  const over = Promise.withResolvers<void>()
  // The payload of the present run of kafkajs: one of an earlier run would keep a ghost in the group.
  let api: EachBatchPayload | undefined
  let draining: Promise<void> | undefined
  let consumer: Consumer | undefined
  let alive: Liveness | undefined

  const keyed = lanes<Item>({
    concurrency,
    ahead,
    redeliverMs,
    clock,
    run(item, key, attempt) {
      const { owned, message } = item
      const { topic, partition, controller } = owned
      const context = { pipeline: pipeline.name, group: groupId, attempt, signal: controller.signal, id, key }
      const delivery = deliveryFrom({ topic, partition, message }, context)
      item.id = delivery.message.id
      return pipeline.step(delivery)
    },
    onNack: (item, error, attempt) => attemptAfter(error, item.id, attempt),
  })
  const assigned = assignment({ keyed, inLanes: ahead, onDone, now: () => clock.now() })
  const commits = committer(
    assigned,
    () => api,
    ({ verified }) => verified || draining !== undefined,
    (error) => {
      changed('commit-failed', {}, error)
      if (isGone(error)) lost(asError(error))
    },
  )
  const offsets = lostOffsets(kafka, groupId, (change, detail) => changed(change, detail))

  function changed(change: string, detail: Readonly<Record<string, unknown>> = {}, error?: unknown): void {
    if (consumerChanged.active())
      consumerChanged.publish({
        system: 'kafka',
        group: groupId,
        change,
        detail,
        ...(error === undefined ? {} : { error }),
      })
  }

  function onDone(owned: Owned): void {
    if (sizeOf(owned) > buffer / 2) return
    owned.space?.()
    if (owned.paused && !state.stopping && draining === undefined) resume(owned)
  }

  function resume(owned: Owned): void {
    owned.paused = false
    consumer?.resume([{ topic: owned.topic, partitions: [owned.partition] }])
  }

  async function eachBatch(payload: EachBatchPayload): Promise<void> {
    const { batch } = payload
    api = payload
    const owned = assigned.find(batch.topic, batch.partition)
    // Nothing is resolved: whoever owns the partition next fetches it again.
    if (state.stopping) return
    if (draining !== undefined) return draining
    if (owned === undefined) return sleep(clock, maxWaitMs)
    const gap = assigned.accept(owned, batch)
    if (gap !== undefined) offsets.explain(gap)
    // Moves the position of the fetches only; what is committed is ours.
    payload.resolveOffset(batch.lastOffset())
    if (sizeOf(owned) > buffer) await roomIn(owned)
  }

  /** Waits for half of it to go; a partition for which that takes longer than a fetch is paused. */
  async function roomIn(owned: Owned): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    owned.space = resolve
    const cancel = clock.after(maxWaitMs, resolve)
    await promise
    cancel()
    owned.space = undefined
    if (sizeOf(owned) <= buffer / 2 || owned.track.closed) return
    owned.paused = true
    consumer?.pause([{ topic: owned.topic, partitions: [owned.partition] }])
  }

  function drain(why: string): Promise<void> {
    return (draining ??= drainNow(why))
  }

  async function drainNow(why: string): Promise<void> {
    for (const owned of assigned.all()) owned.space?.()
    const sinceMs = clock.now()
    await within(drainMs, keyed.drain())
    await commitAll()
    changed('drained', { why, ms: Math.round(clock.now() - sinceMs), unfinished: keyed.inFlight })
  }

  /** Bounded, since a broker that is gone may never answer. */
  async function commitAll(): Promise<void> {
    // One that is under way may have left before the last of these were done.
    await within(
      answerMs,
      commits.commit().then(() => commits.commit()),
    )
  }

  async function within(ms: number, work: Promise<unknown>): Promise<void> {
    const inTime = new AbortController()
    await Promise.race([work, sleep(clock, ms, inTime.signal).catch(() => {})])
    inTime.abort()
  }

  /** Everything before a join has to be committed by then: afterwards the group takes nothing of the old generation. */
  async function beforeJoin(): Promise<void> {
    if (!state.joined || state.stopping || assigned.size === 0) return
    await within(answerMs, commits.commit())
    if (assigned.size > 0) await drain('join')
  }

  function onJoin(memberId: string, owned: Readonly<Record<string, readonly number[]>>): void {
    const fresh = assigned.join(memberId, owned, new HoldfastError('stopped', 'the partition went to another member'))
    Object.assign(state, { joined: true, crashed: undefined })
    alive?.heard()
    draining = undefined
    if (!state.stopping) {
      // A pause outlives losing and regaining a partition.
      for (const each of assigned.all()) resume(each)
      keyed.resume()
    }
    changed('joined', { memberId, partitions: assigned.size, added: fresh.length })
    offsets.check(fresh)
  }

  function lost(error: Error): void {
    if (assigned.size === 0) return
    assigned.drop(error)
    changed('lost', {}, error)
  }

  function onCrash(error: Error, restart: boolean): void {
    Object.assign(state, { joined: false, crashed: error })
    changed('crashed', { restart }, error)
    if (!restart && !state.stopping)
      over.reject(new HoldfastError('unavailable', `kafka: ${beyondHelp(error)}`, { cause: error }))
  }

  function onStop(): void {
    api = undefined
    state.joined = false
    assigned.drop(new HoldfastError('stopped', 'the consumer left the group'))
  }

  function watch(made: Consumer): void {
    const { events } = made
    made.on(events.GROUP_JOIN, ({ payload }) => onJoin(payload.memberId, payload.memberAssignment))
    made.on(events.HEARTBEAT, () => alive?.heard())
    made.on(events.STOP, onStop)
    made.on(events.CRASH, ({ payload }) => {
      onStop()
      onCrash(payload.error, payload.restart)
    })
    made.on(events.END_BATCH_PROCESS, ({ payload: { topic, partition, batchSize, lastOffset } }) => {
      const owned = batchSize === 0 ? assigned.find(topic, partition) : undefined
      if (owned !== undefined) assigned.skip(owned, Number(lastOffset))
    })
  }

  async function create(): Promise<Consumer> {
    // At run time only here, and from the service's own copy.
    const { default: kafkajs } = await import('kafkajs')
    const { partitionAssigners = [kafkajs.PartitionAssigners.roundRobin], ...rest } = settings
    const [first, ...others] = partitionAssigners
    if (first === undefined)
      throw badOption('kafkajsConsumer', 'settings.partitionAssigners', 'not empty', partitionAssigners)
    return kafka.consumer({
      allowAutoTopicCreation: false,
      ...rest,
      groupId,
      sessionTimeout: sessionMs,
      rebalanceTimeout: rebalanceMs,
      heartbeatInterval: heartbeatMs,
      maxWaitTimeInMs: maxWaitMs,
      partitionAssigners: [joinGate(first, beforeJoin), ...others],
    })
  }

  function keepAlive(): Liveness {
    return liveness({
      clock,
      everyMs: Math.max(heartbeatMs / 2, 50),
      sessionMs,
      beat: () => (state.joined ? api?.heartbeat() : undefined),
      onRebalance: () => void drain('heartbeat'),
      onLost: lost,
      onSilence(error) {
        state.silent = true
        changed('silent', {}, error)
        void keyed.drain()
        assigned.abort(error)
      },
      onHeard() {
        state.silent = false
        if (draining === undefined && !state.stopping) keyed.resume()
      },
    })
  }

  async function stop(made: Consumer): Promise<void> {
    state.stopping = true
    if (state.joined) made.pause(topics.map((topic) => ({ topic })))
    await drain('stop')
    if (keyed.inFlight > 0) {
      assigned.abort(new HoldfastError('stopped', 'shutting down'))
      await within(Math.min(drainMs, 1000), keyed.drain())
      await commitAll()
    }
    alive?.stop()
    await within(
      leaveMs,
      made.disconnect().catch(() => {}),
    )
    // Whatever became of that: no timer of a lane may outlive this.
    assigned.drop(new HoldfastError('stopped', 'shutting down'))
    await within(1000, offsets.close())
    changed('stopped', { unfinished: keyed.inFlight })
  }

  return {
    async run(signal) {
      await checkKafka({ kafka, topics, groupId })
      if (signal.aborted) return
      signal.addEventListener('abort', () => over.resolve(), { once: true })
      const made = (consumer = await create())
      watch(made)
      alive = keepAlive()
      const committing = everyMs(commitEveryMs)
      try {
        await made.connect()
        await made.subscribe({ topics: [...topics], fromBeginning: true })
        await made.run({ autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: 1, eachBatch })
        await over.promise
      } finally {
        committing.stop()
        await stop(made)
      }
    },
    health: () =>
      consumerHealth({ name: `kafka ${groupId}`, state, assigned, keyed, notes, hungAfterMs, nowMs: clock.now() }),
  }

  function everyMs(ms: number): { stop(): void } {
    let cancel = clock.after(ms, tick)
    function tick(): void {
      cancel = clock.after(ms, tick)
      if (draining === undefined) void commits.commit()
    }
    return { stop: () => cancel() }
  }
}

function beyondHelp(error: Error): string {
  const { name, message } = faultOf(error)
  if (name !== 'KafkaJSNotImplemented') return message
  return `${message}: register its codec in kafkajs' CompressionCodecs before the consumer is made`
}
