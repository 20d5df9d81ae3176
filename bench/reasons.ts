import type { Row } from './measure.ts'

const stack = 'pipeline: seven-feature stack'
const policies = 'pipeline: retry + breaker + timeout'
const pair = 'redis: claim + complete'
const tokens =
  'its two plain SETs check no token, so whoever lost a key overwrites its successor; ours are a SET, a GET and a SET inside scripts, which is most of what the server does (stores.md)'
const answers = 'the client in C only writes calls: it reads no answers, and has no promises to settle'
const commits =
  'a claim is visible to others before the work begins, so there are two commits and five round trips beside three; PostgreSQL parses the claim each time unless its statements are prepared, and both cores are busy with that (stores.md)'

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
  'executor: keyed executor, 1,000 keys / promise chain per key':
    'a chain bounds nothing; a lane is taken out of its map when it is empty, so that nothing is kept for an idle key, which is the missing tenth (kafka-and-lanes.md)',
  'observability: metrics / a bare handler':
    'one promise and its reaction are 45 ns on this machine; counting is the rest. One `inc` of prom-client is above',
  'observability: tracing, with an SDK and a batch exporter / the same spans by hand':
    'the record by which events and batches find a span, and the look for a span that another instrumentation has opened',
  'observability: tracedCreate, with an SDK and a batch exporter / the same spans by hand':
    'copied headers: those of the caller are never written to',
  'memory: seven-feature stack, held per message in flight / a bare handler':
    'the signals of claim and attempt with their controllers (380 B), one promise with its reaction and closure for each of five stages that watch (190 B each), the frame of the one async function (600 B), the claim and its record (500 B)',
  [`${pair}, 64 in flight / @node-idempotency/core`]: tokens,
  [`${pair}, 256 in flight / @node-idempotency/core`]: tokens,
  [`${pair}, 64 in flight / redis-benchmark, 16 keys a call, pipelined`]: answers,
  [`${pair}, 256 in flight / redis-benchmark, 64 keys a call, pipelined`]: answers,
  'postgres: claim + effect + completion, 16 in flight / three autocommits': commits,
  'postgres: claim + effect + completion, 16 in flight, batched / three autocommits':
    'pgbench, with the same statements and nothing else to do, is itself less than twice as fast as the autocommits: six times is beyond this server on these two cores',
}

export function reasonOf({ area, name, beside }: Row): string {
  return reasons[`${area}: ${name} / ${beside}`] ?? 'not known yet'
}
