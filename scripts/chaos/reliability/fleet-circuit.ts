import { setTimeout as sleep } from 'node:timers/promises'
import { privateRedis, type PrivateServer } from '../../../test/support/private-servers.ts'
import type { Probe } from '../fleet/dependency.ts'
import { leaseMs, size, until, withFleet, type Fleet, type FleetOptions } from '../fleet/fleet.ts'
import type { FleetWorkerCounts } from '../fleet/settings.ts'
import type { RunHow, Scenario } from '../scenario.ts'

const calmMs = 3_000
const outageMs = 24_000
/** Windows of 1 s, growing by half to 5 s, each at least three quarters as long where it is spread. */
const mostProbes = 1.2 * 9

interface Outage {
  readonly burnt: number
  readonly probes: readonly Probe[]
  readonly counts: readonly FleetWorkerCounts[]
  readonly recoveryMs: number
  readonly killed: number
}

/** One outage: the fleet works, its dependency goes down, `attack` has its way, and it comes back. */
async function outage(how: RunHow, options: FleetOptions, attack: (fleet: Fleet) => Promise<void>): Promise<Outage> {
  return withFleet({ ...options, planted: how.broken }, async (fleet) => {
    const { dependency } = fleet
    await sleep(calmMs, undefined, { signal: how.signal })
    dependency.down = true
    await attack(fleet)
    const { down: burnt } = dependency.calls
    dependency.down = false
    const [backMs, before] = [performance.now(), dependency.calls.up]
    await until('the first call after the outage', () => dependency.calls.up > before)
    const recoveryMs = performance.now() - backMs
    await until('that all circuits are closed', () => fleet.allClosed())
    const counts = await fleet.end()
    return { burnt, probes: dependency.probes, counts, recoveryMs, killed: fleet.killed }
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

/** Kills the probe's holder, stops another for longer than its lease, and takes Redis away: stopped, then killed and empty. */
async function everything(fleet: Fleet, redis: PrivateServer, how: RunHow): Promise<void> {
  fleet.dependency.hangMs = 1_000
  const holder = await granted(fleet)
  fleet.replace(holder.id)
  how.say(`killed ${holder.id} in its probe`)
  const sleeper = await granted(fleet)
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
}

export const fleetCircuit: Scenario = {
  name: 'fleet-circuit',
  what: `${size} processes share the circuit of one dependency, which is down for ${outageMs / 1000} s; then once more, while the probe's holder is killed with -9, another is stopped for longer than its lease, one reaches no Redis, and Redis stands still, and is killed and comes back empty`,
  promise:
    'no two probes of one epoch; one probe for each window; at most a quarter of the probes that circuits of their own send; no message is lost, doubled or dead-lettered',
  needs: [],
  breaks: {
    'every-asker-probes': 'grants a probe to every process that asks',
    'not-shared': 'each process has a circuit of its own',
  },
  async run(how) {
    const redis = await privateRedis()
    const shared = how.broken === 'not-shared' ? null : redis.url
    try {
      const wait = () => sleep(outageMs, undefined, { signal: how.signal })
      const own = await outage({ ...how, broken: undefined }, { redisUrl: null }, wait)
      how.say(`circuits of their own: ${own.burnt} calls burnt, ${own.probes.length} probes`)
      const plain = await outage(how, { redisUrl: shared }, wait)
      how.say(`shared: ${plain.burnt} calls burnt, ${plain.probes.length} probes`)
      const attacked =
        how.broken === undefined
          ? await outage(how, { redisUrl: redis.url, cutOff: 'w7' }, (fleet) => everything(fleet, redis, how))
          : plain
      const all = [own, plain, attacked].flatMap(({ counts }) => counts)
      const sum = (of: (counts: FleetWorkerCounts) => number): number =>
        all.reduce((total, each) => total + of(each), 0)
      const perEpoch = [plain, attacked].map(({ probes }) => mostOfOneEpoch(probes))
      const violations = [
        ...(plain.probes.length <= mostProbes ? [] : [`${plain.probes.length} probes in ${outageMs / 1000} s`]),
        ...(Math.max(...perEpoch) <= 1 ? [] : [`${Math.max(...perEpoch)} probes of one epoch`]),
        ...(plain.probes.length <= own.probes.length / 4
          ? []
          : [`${plain.probes.length} probes, ${own.probes.length} of circuits of their own`]),
        ...(sum(({ dead }) => dead) === 0 ? [] : [`${sum(({ dead }) => dead)} dead-lettered`]),
      ]
      return {
        injected: {
          'calls that failed': own.burnt + plain.burnt + attacked.burnt,
          ...(how.broken === undefined && {
            'processes killed in their probe': attacked.killed,
            'processes stopped in their probe': 1,
            'losses of Redis': 2,
          }),
        },
        messages: sum(({ sent }) => sent),
        lost: sum(({ sent, done, dead }) => Math.max(0, sent - done - dead)),
        doubled: sum(({ sent, done }) => Math.max(0, done - sent)),
        ...{ outOfOrder: null, recoveryMs: Math.max(plain.recoveryMs, attacked.recoveryMs), violations },
        notes: `calls burnt in ${outageMs / 1000} s: ${plain.burnt} shared, ${own.burnt} by circuits of their own; probes ${plain.probes.length} and ${own.probes.length}; under attack ${attacked.probes.filter(({ epoch }) => epoch !== null).length} granted probes and ${attacked.probes.filter(({ epoch }) => epoch === null).length} of processes that reached no Redis`,
      }
    } finally {
      await redis.dispose()
    }
  },
}

function mostOfOneEpoch(probes: readonly Probe[]): number {
  const counts = new Map<string, number>()
  for (const { epoch } of probes) if (epoch !== null) counts.set(epoch, (counts.get(epoch) ?? 0) + 1)
  return Math.max(0, ...counts.values())
}
