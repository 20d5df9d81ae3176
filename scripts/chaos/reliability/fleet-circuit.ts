import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { redisCircuits } from '../../../src/stores/redis/circuits.ts'
import { privateRedis, type PrivateServer } from '../../../test/support/private-servers.ts'
import type { Probe } from '../fleet/dependency.ts'
import { leaseMs, size, until, withFleet, type Fleet, type FleetOptions } from '../fleet/fleet.ts'
import type { FleetWorkerCounts } from '../fleet/settings.ts'
import type { Report, RunHow, Scenario } from '../scenario.ts'

const calmMs = 3_000
const outageMs = 24_000
const longOutageMs = 60_000
/** What is planted shows soon. */
const plantedOutageMs = 8_000
/** So many messages per second of all processes, where nothing else is said. */
const perSecond = 160
/** The shortest window is 1 s. */
const shortestWindowMs = 900
const mostPerWindow = 1.2
const mostOfOwnCalls = 0.2

interface Outage {
  readonly burnt: number
  readonly probes: readonly Probe[]
  readonly counts: readonly FleetWorkerCounts[]
  readonly recoveryMs: number
  readonly killed: number
  readonly seen: readonly string[]
}

/** Says what it saw that must not be. */
type Attack = (fleet: Fleet) => Promise<readonly string[] | void>

/** One outage: the fleet works, its dependency goes down, `attack` has its way, and it comes back. */
async function outage(
  how: RunHow,
  { perSecond: all = perSecond, ...options }: Partial<FleetOptions> & Pick<FleetOptions, 'redisUrl'>,
  attack: Attack,
): Promise<Outage> {
  return withFleet({ ...options, perSecond: all / size, planted: how.broken }, async (fleet) => {
    const { dependency } = fleet
    await sleep(calmMs, undefined, { signal: how.signal })
    dependency.down = true
    const seen = (await attack(fleet)) ?? []
    const { down: burnt } = dependency.calls
    dependency.down = false
    const [backMs, before] = [performance.now(), dependency.calls.up]
    await until('the first call after the outage', () => dependency.calls.up > before)
    const recoveryMs = performance.now() - backMs
    await until('that all circuits are closed', () => fleet.allClosed(), 60_000)
    const counts = await fleet.end()
    return { burnt, probes: dependency.probes, counts, recoveryMs, killed: fleet.killed, seen }
  })
}

/** The next probe that the fleet grants. */
async function granted(fleet: Fleet, withinMs = 20_000): Promise<Probe> {
  const { promise, resolve } = Promise.withResolvers<Probe>()
  fleet.dependency.onProbe = (probe) => {
    if (probe.epoch !== null) resolve(probe)
  }
  const late = sleep(withinMs).then(() => Promise.reject(new Error('no probe was granted')))
  return Promise.race([promise, late]).finally(() => (fleet.dependency.onProbe = () => {}))
}

const redisOf = ({ url }: PrivateServer): Redis => new Redis(url)

/** How long the register says that it is open between two probes, by the clock of Redis: an epoch is when a state began. */
async function windowAfter(holder: Probe, next: Promise<Probe>, redis: Redis, prefix: string): Promise<number> {
  const circuits = redisCircuits(redis, { prefix })
  let longestMs = 0
  let isOver = false
  void next.finally(() => (isOver = true)).catch(() => {})
  try {
    while (!isOver) {
      for (const { state, epoch, leftMs } of (await circuits.list?.()) ?? [])
        if (state === 'open' && leftMs > 0 && epoch > Number(holder.epoch))
          longestMs = Math.max(longestMs, Date.now() + leftMs - epoch / 1000)
      await sleep(20)
    }
    return longestMs
  } finally {
    redis.disconnect()
  }
}

/** Kills the probe's holder, stops another for longer than its lease, and takes Redis away: stopped, then killed and empty. */
async function everything(fleet: Fleet, redis: PrivateServer, how: RunHow): Promise<string[]> {
  fleet.dependency.hangMs = 1_000
  const holder = await granted(fleet)
  fleet.replace(holder.id)
  how.say(`killed ${holder.id} in its probe`)
  const next = granted(fleet)
  const windowMs = await windowAfter(holder, next, redisOf(redis), fleet.prefix)
  const sleeper = await next
  const seen =
    windowMs >= shortestWindowMs
      ? []
      : [`the next probe was granted ${Math.round(windowMs)} ms after the lease of a dead process, not a window later`]
  if (how.broken !== undefined) return seen
  const child = fleet.workers.get(sleeper.id)
  child?.kill('SIGSTOP')
  await sleep(leaseMs + 1_500)
  child?.kill('SIGCONT')
  how.say(`stopped ${sleeper.id} for ${leaseMs + 1_500} ms in its probe`)
  await granted(fleet)
  await redis.kill('SIGSTOP')
  await sleep(6_000)
  await redis.kill('SIGCONT')
  how.say('Redis stood still for 6 s')
  await granted(fleet)
  await redis.kill('SIGKILL')
  await sleep(4_000)
  await redis.start()
  how.say('Redis was killed, and is back empty')
  await granted(fleet)
  return seen
}

export const fleetCircuit: Scenario = {
  name: 'fleet-circuit',
  what: `${size} processes share the circuit of one dependency, which is down for ${outageMs / 1000} s; then once more, while the probe's holder is killed with -9, another is stopped for longer than its lease, one reaches no Redis, and Redis stands still, and is killed and comes back empty; at full length also for ${longOutageMs / 1000} s at 200 messages a second and at 1`,
  promise: `no two probes of one epoch; at most ${mostPerWindow} probes for each window; at most ${mostOfOwnCalls} of the calls that circuits of their own burn; no message is lost, doubled or dead-lettered`,
  needs: [],
  breaks: {
    'every-asker-probes': 'grants a probe to every process that asks',
    'window-again': 'the window of a probe whose process died is used again at once',
    'not-shared': 'each process has a circuit of its own',
    'refuses-nothing': 'the circuit only observes: every message calls, and every failure is an attempt',
  },
  async run(how) {
    const redis = await privateRedis()
    try {
      return reportOf(await outages(how, redis))
    } finally {
      await redis.dispose()
    }
  },
}

interface Outages {
  /** With circuits of their own. */
  readonly own?: Outage
  readonly plain?: Outage
  readonly attacked?: Outage
  readonly long: readonly Outage[]
}

async function outages(how: RunHow, redis: PrivateServer): Promise<Outages> {
  const { broken, full, say, signal } = how
  const redisUrl = broken === 'not-shared' ? null : redis.url
  const attack = (): Promise<Outage> =>
    outage(how, { redisUrl, cutOff: 'w7' }, (fleet) => everything(fleet, redis, how))
  if (broken === 'window-again') return { attacked: await attack(), long: [] }
  const wait =
    (ms: number): Attack =>
    () =>
      sleep(ms, undefined, { signal })
  const lengthMs = broken === undefined ? outageMs : plantedOutageMs
  const own = await outage({ ...how, broken: undefined }, { redisUrl: null }, wait(lengthMs))
  say(`circuits of their own: ${own.burnt} calls burnt, ${own.probes.length} probes`)
  const plain = await outage(how, { redisUrl }, wait(lengthMs))
  say(`shared: ${plain.burnt} calls burnt, ${plain.probes.length} probes`)
  if (broken !== undefined) return { own, plain, long: [] }
  const attacked = await attack()
  const long: Outage[] = []
  for (const all of full ? [200, 1] : []) {
    const one = await outage(how, { redisUrl, perSecond: all }, wait(longOutageMs))
    say(`${longOutageMs / 1000} s at ${all}/s: ${one.burnt} calls burnt, ${one.probes.length} probes`)
    long.push(one)
  }
  return { own, plain, attacked, long }
}

function reportOf({ own, plain, attacked, long }: Outages): Report {
  const shared = [plain, attacked, ...long].filter((each) => each !== undefined)
  const runs = own === undefined ? shared : [own, ...shared]
  const all = runs.flatMap(({ counts }) => counts)
  const sum = (of: (counts: FleetWorkerCounts) => number): number => all.reduce((total, each) => total + of(each), 0)
  const dead = sum((counts) => counts.dead)
  const perEpoch = Math.max(...shared.map(({ probes }) => mostOfOneEpoch(probes)))
  const perWindow = Math.max(...shared.map(({ probes }) => probesPerWindow(probes)))
  const ofOwn = (plain?.burnt ?? 0) / (own?.burnt ?? 1)
  const elected = attacked?.probes.filter(({ epoch }) => epoch !== null).length ?? 0
  return {
    injected: {
      'calls that failed': runs.reduce((total, { burnt }) => total + burnt, 0),
      ...(attacked !== undefined && {
        'processes killed in their probe': attacked.killed,
        'processes stopped in their probe': 1,
        'losses of Redis': 2,
      }),
    },
    messages: sum(({ sent }) => sent),
    lost: sum(({ sent, done, dead }) => Math.max(0, sent - done - dead)),
    doubled: sum(({ sent, done }) => Math.max(0, done - sent)),
    ...{ outOfOrder: null, recoveryMs: Math.max(...shared.map((each) => each.recoveryMs)) },
    violations: [
      ...shared.flatMap(({ seen }) => seen),
      ...(perEpoch <= 1 ? [] : [`${perEpoch} probes of one epoch`]),
      ...(perWindow <= mostPerWindow ? [] : [`${perWindow.toFixed(2)} probes for each window`]),
      ...(ofOwn <= mostOfOwnCalls ? [] : [`${ofOwn.toFixed(2)} of the calls that circuits of their own burn`]),
      ...(dead === 0 ? [] : [`${dead} dead-lettered`]),
    ],
    notes: `calls burnt in one outage: ${plain?.burnt ?? '–'} shared, ${own?.burnt ?? '–'} by circuits of their own; probes ${plain?.probes.length ?? '–'} and ${own?.probes.length ?? '–'}; under attack ${elected} granted probes, at most ${perWindow.toFixed(2)} for each window, and ${(attacked?.probes.length ?? 0) - elected} of processes that reached no Redis`,
  }
}

function mostOfOneEpoch(probes: readonly Probe[]): number {
  const counts = new Map<string, number>()
  for (const { epoch } of probes) if (epoch !== null) counts.set(epoch, (counts.get(epoch) ?? 0) + 1)
  return Math.max(0, ...counts.values())
}

/** A granted probe that comes sooner than a window after the one before is a second one of its window. */
function probesPerWindow(probes: readonly Probe[]): number {
  const atMs = probes.filter(({ epoch }) => epoch !== null).map((probe) => probe.atMs)
  const windows = atMs.filter((at, n) => n === 0 || at - (atMs[n - 1] ?? 0) >= shortestWindowMs).length
  return windows === 0 ? 1 : atMs.length / windows
}
