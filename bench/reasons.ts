import type { Row } from './measure.ts'

const stack = 'pipeline: seven-feature stack'
const policies = 'pipeline: retry + breaker + timeout'
const pair = 'redis: claim + complete'
const tokens =
  'its two plain SETs check no token, so a process that lost a key overwrites its successor; ours are a SET and a SET that reads, inside scripts, which is most of what the server does (stores.md)'
const planned =
  'PostgreSQL plans each statement of each batch anew. With prepared statements (preparedRunner()) the same is above the target, in the row below'

/** Why a target is missed, as far as it is known: by area, name and what stands beside. Written by hand, from profiles. */
const reasons: Readonly<Record<string, string>> = {
  [`${stack} / the same, assembled`]:
    'the hand-fused function is about 8 times as fast as the assembly, and we take less than twice its time: ten times would be faster than by hand',
  [`${stack} / assembled, without its time-out`]:
    'the assembly then has no deadline and no signal, and a set of ids for its claims: no lease, no owner, no token; the hand-fused function, which has them, is about twice as fast as it',
  [`${policies} / cockatiel wrap`]:
    'each attempt has an abort signal, a place among the deadlines and a promise that a deaf handler can be given up by: 0.35 of 0.6 µs, with nothing left in it to take out',
  [`${policies} / opossum`]:
    'opossum gives its work no signal, retries nothing, and counts time-outs with a timer each; the signal of each attempt is what takes our time',
  'pipeline: seven user middlewares / koa-compose':
    'on the line: between 1.14 and 1.18 from run to run; both sides are seven async functions, which cost the same',
  'import: import, longer by / cockatiel alone':
    'thirty small files, about 0.4 ms each: what is published is the source, file by file, so that it can be read where it fails',
  'executor: keyed executor, 1,000 keys / promise chain per key':
    'a chain bounds nothing; a lane is taken out of its map when it is empty, so that nothing is kept for an idle key, which is the missing tenth (kafka-and-lanes.md)',
  'observability: metrics / a bare handler':
    'every delivery is timed, so that no slow one is missed: one promise and two readings of the clock are in the row below, and counting is the rest. One `inc` of prom-client stands there too',
  'observability: tracing, with an SDK and a batch exporter / the same spans by hand':
    'the record by which events and batches find a span, and the look for a span that another instrumentation has opened',
  'observability: tracedCreate, with an SDK and a batch exporter / the same spans by hand':
    'copied headers: those of the caller are never written to',
  'memory: seven-feature stack, held per message in flight / a bare handler':
    'the signals of claim and attempt with their controllers (380 B), one promise with its reaction and closure for each of five stages that watch (190 B each), the frame of the one async function (600 B), the claim and its record (500 B)',
  [`${pair}, 16 in flight / @node-idempotency/core`]: tokens,
  [`${pair}, 64 in flight / @node-idempotency/core`]: tokens,
  [`${pair}, 256 in flight / @node-idempotency/core`]: tokens,
  'postgres: claim + effect + completion, 16 in flight, claim inside, prepared / three autocommits':
    'on the line: from 0.91 to 0.99 over the rounds, 0.96 in the run before. One flush instead of three, and two statements more in it',
  'postgres: claim + effect + completion, batches of 16, 16 in flight, claim inside / three autocommits': planned,
  'postgres: claim + effect + completion, batches of 16, 64 in flight, claim inside / three autocommits': planned,
  'postgres: claim + effect + completion, batches of 16, 64 in flight, claim inside, prepared / pgbench, the same statements':
    'on the line: 0.82 in the run before. pgbench is written in C and makes nothing of what it reads; Node shares the two cores with the server',
  'outbox: 8 writers beside a running relay / the same without a relay':
    'the relay works on the same two busy cores; a look at a shard is 0.7 ms of planning, since a generic plan would not know that few rows are new (../outbox/figures.md)',
  'outbox: drain of 100,000 × 1 KB to a publisher that does nothing / SELECT … FOR UPDATE SKIP LOCKED + DELETE by pgbench':
    'Node reads each message and makes an object of it, 5.5 µs of its one core; the client in C makes nothing of what it is sent',
  'outbox: drain of 1 KB messages / graphile-worker, local queue of 500, 24 at once':
    'its local queue takes 500 jobs in one statement and completes them in batches; it keeps no order of keys, and a table whose rows are deleted swells under a pinned snapshot (../outbox/figures.md)',
  'outbox: COMMIT to publish at 20 a second, with poke(), p50 / a bare COMMIT':
    'a look is about 0.7 ms of planning on the server beside a COMMIT of 0.65 ms, and a poke makes all four shards look at once on two cores: with one shard it is 2.6×',
  "outbox: a relay's memory before 1,000,000 messages / before 300,000":
    'the whole process at its most, before the collector has settled: no row of the backlog is held, and 10,000,000 were not more than 1,000,000 (../outbox/figures.md)',
  'kafka: handler of 5 ms, 64 in flight, on @platformatic/kafka / holdfast on kafkajs':
    'both wait for the handler: 5 ms over 64 places are 78 µs, and the timers of Node take most of the rest; from 0.97× to 1.01× over the rounds',
  'kafka: handler does nothing, lanes only, above it / kafkajs eachBatch':
    'the text of the key, the delivery, its lane and the promises of a handler that may run beside others take 0.9 µs (kafka-and-lanes.md); the rest is the collector, which follows all that is in flight',
  'kafka: handler does nothing, full stack, above it / kafkajs eachBatch':
    'the seven stages take 3.8 µs by themselves (pipeline.md), the lanes about 1.8; where the rest goes was not found',
  'kafka: handler does nothing, lanes only / kafkajs eachBatch':
    'the text of the key, the delivery, its lane and the promises of a handler that may run beside others take 0.9 µs beside the 1.3 µs of the raw client (kafka-and-lanes.md)',
}

export function reasonOf({ area, name, beside }: Row): string {
  return reasons[`${area}: ${name} / ${beside}`] ?? 'not known yet'
}

/** The rows that have a reason. */
export const explained: readonly string[] = Object.keys(reasons)
