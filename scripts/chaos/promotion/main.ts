/**
 * A second version of a service takes the place of the first, on real Kafka, under live traffic and `kill -9`:
 * `npm run chaos:promotion -- [--messages n] [--seed n] [--break naive]`
 */
import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import pg from 'pg'
import type { PromotionReport } from '../../../src/consumer/replay/promotion.ts'
import { kafkajsPromotion } from '../../../src/transports/kafkajs/index.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { Problems } from '../brokers/problems.ts'
import { createTopic, numbered } from '../kafka/topics.ts'
import { breaks } from './settings.ts'
import { Version } from './versions.ts'

const { values: flags } = parseArgs({
  options: {
    messages: { type: 'string', default: '6000' },
    seed: { type: 'string' },
    break: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
})
const planted = flags.break
if (planted !== undefined && !Object.hasOwn(breaks, planted)) {
  console.error(`no fault is called ${planted}: ${Object.keys(breaks).join(', ')}`)
  process.exit(2)
}
const messages = Number(flags.messages)
const seed = Number(flags.seed ?? randomInt(1, 2 ** 31))
const random = seeded(seed)
const name = `promotion_${randomBytes(4).toString('hex')}`
const [partitions, size, tickMs, longestMs] = [6, 2, 100, 150_000]
/** The first version gets to a few messages a second less than come in: it has a lag, as one that is to be replaced. */
const perTick = 16
const handlerMs = { first: 55, second: 8 }

const { url } = await up(serviceNamed('kafka'), (line) => console.error(line))
const { url: postgresUrl } = await up(serviceNamed('postgres'), (line) => console.error(line))
const brokers = url.split(',')
const kafka = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 12 } })
const pool = new pg.Pool({ connectionString: postgresUrl, max: 2 })
pool.on('error', () => {})
const problems = new Problems(flags.verbose)
const common = { brokers, topic: name, postgresUrl, schema: name }
const said = (pid: number, line: string): void => problems.said(pid, line)
const [groupId, secondGroupId] = [`${name}.v1`, `${name}.v2`]
const first = new Version({ ...common, groupId, name: 'orders', handlerMs: handlerMs.first }, said)
const second = new Version({ ...common, groupId: secondGroupId, name: 'orders@v2', handlerMs: handlerMs.second }, said)
const say = (text: string): void => console.log(text)
let [produced, kills] = [0, 0]

say(`${name}: ${messages} messages, seed ${seed}${planted === undefined ? '' : `, planted: ${breaks[planted]}`}`)
const startedMs = Date.now()
let failed = true
try {
  await pool.query(`create schema ${name};
create table ${name}.charges (key text primary key, id text not null, by text not null, calls int not null default 1);
create table ${name}.model (id text primary key)`)
  const admin = kafka.admin()
  await admin.connect()
  await createTopic(admin, name, partitions)
  const traffic = produce()
  first.start('none', size)
  second.start('all', size)
  await strikes(4)
  if (planted === 'naive') {
    const ends = await admin.fetchTopicOffsets(name)
    const until = Object.fromEntries(ends.map(({ partition, high }) => [`${name}/${partition}`, high]))
    await Promise.all([first.stop(), second.stop()])
    second.start(until, size)
  } else await promote()
  await admin.disconnect()
  await strikes(2)
  await traffic
  failed = await audited()
} finally {
  await Promise.all([first.stop(), second.stop()])
  await pool.query(`drop schema if exists ${name} cascade`).catch(() => {})
  await pool.end()
}
if (failed && planted === undefined) problems.print()
process.exit(failed ? 1 : 0)

/** Live traffic, from before the first kill until after the last. */
async function produce(): Promise<void> {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  while (produced < messages) {
    const batch = numbered(produced, Math.min(perTick, messages - produced), 200, random)
    await producer.send({ topic: name, messages: batch })
    produced += batch.length
    await sleep(tickMs)
  }
  await producer.disconnect()
}

async function strikes(count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    await sleep(2_000 + random() * 1_000)
    if (await (n % 2 === 0 ? second : first).strike(random)) kills++
  }
}

/** Step by step, as `holdfast replay promote` says. Members are killed on the way, and the step is asked for again. */
async function promote(): Promise<void> {
  let [stopped, wasKilled] = [false, false]
  for (;;) {
    const report = await kafkajsPromotion({ kafka, groupId, secondGroupId, topics: [name] }).catch(String)
    if (typeof report === 'string') said(process.pid, report)
    else if (report.step === 'stop-second') {
      // Its members may only just have been killed: the group forgets them later.
      if (!stopped) say(tell(report))
      await second.stop()
      stopped = true
    } else if (report.step === 'let-first-pass') {
      if (!wasKilled && (await first.strike(random))) kills++
      wasKilled = true
    } else if (report.step === 'stop-first') {
      say(tell(report))
      // One that was killed has done more than it committed: it is started again, and stopped in good order.
      if (await first.strike(random)) kills++
      await sleep(8_000)
      await first.stop()
    } else {
      say(tell(report))
      return second.start(Object.fromEntries(Object.entries(report.until).map(([at, end]) => [at, String(end)])), size)
    }
    await sleep(500)
    if (Date.now() - startedMs > longestMs) throw new Error('the promotion did not come to its end')
  }
}

function tell(report: PromotionReport): string {
  const behind = report.behind.reduce((sum, each) => sum + each.second - each.first, 0)
  return `  ${((Date.now() - startedMs) / 1000).toFixed(1)} s: ${report.step}, the first is ${behind} messages behind`
}

async function audited(): Promise<boolean> {
  const sql = `
select (select count(distinct id) from ${name}.charges)::int as charged, (select count(*) from ${name}.model)::int as model,
  (select count(*) from (select id from ${name}.charges group by id having count(*) > 1) d)::int as doubled,
  (select coalesce(sum(calls - 1), 0) from ${name}.charges)::int as refused,
  (select count(*) from ${name}.charges where by = 'orders@v2')::int as by_second`
  const look = async () => (await pool.query<Record<string, number>>(sql)).rows[0] ?? {}
  let seen = await look()
  let progress = { done: 0, atMs: Date.now() }
  while ((seen['model'] ?? 0) < produced || (seen['charged'] ?? 0) < produced) {
    const done = (seen['model'] ?? 0) + (seen['charged'] ?? 0)
    if (done > progress.done) progress = { done, atMs: Date.now() }
    if (Date.now() - progress.atMs > 30_000) break
    await sleep(500)
    seen = await look()
  }
  const { charged = 0, model = 0, doubled = 0, refused = 0, by_second: bySecond = 0 } = seen
  const figures = {
    ...{
      produced,
      'effects missing': produced - charged,
      'effects twice': doubled,
      'missing in the read model': produced - model,
    },
    ...{
      'effects of the second version': bySecond,
      'repeats that the other side refused': refused,
      'kill -9': kills,
      seed,
    },
    seconds: Math.round((Date.now() - startedMs) / 1000),
  }
  for (const [what, count] of Object.entries(figures)) say(`  ${what.padEnd(36)} ${count}`)
  if (charged === 0 || kills === 0) throw new Error('nobody worked, or nobody was killed: the run shows nothing')
  const isBroken = charged < produced || doubled > 0 || model < produced
  say(isBroken ? 'BROKEN: see above' : 'kept: no effect missing, none twice, the read model whole')
  return isBroken
}
