import { redriveLedger } from '../redrive/ledger.ts'
import { redriveToKafka } from '../redrive/to-kafka.ts'
import type { Scenario } from '../scenario.ts'

export const redrives: Scenario = {
  name: 'redrives',
  what: 'dead letters are redriven by three processes that are killed and stopped past their leases, in parallel with redeliveries of the originals, poison, flaky handlers and letters that were completed otherwise',
  promise: 'nothing lost, doubled or stuck, every key in order, and a result for each letter',
  needs: ['postgres'],
  async run({ full, url, signal }) {
    const [total, kills, pauses] = full ? [2200, 52, 17] : [300, 8, 3]
    const told = await redriveLedger({ url: url('postgres'), total, kills, pauses, signal })
    const { lost, doubled, outOfOrder, stuck, open } = told
    return {
      injected: { 'kill -9': told.kills, SIGSTOP: told.pauses },
      ...{ messages: total, lost, doubled, outOfOrder },
      recoveryMs: null,
      violations: [
        ...(stuck > 0 ? [`${stuck} letters of which nothing is heard`] : []),
        ...(open > 0 ? [`${open} items without a result`] : []),
      ],
      notes: `${told.redrives} redrives; letters: ${told.states}`,
    }
  },
}

export const redrivesToKafka: Scenario = {
  name: 'redrives-to-kafka',
  what: 'dead letters are published to their topic by two processes that are killed in the middle, and replaced',
  promise:
    'every letter arrives, none is skipped, first deliveries of a key are in order; repeats have the same id and generation',
  needs: ['postgres', 'kafka'],
  async run({ full, url, signal }) {
    const [total, kills] = full ? [100_000, 6] : [6000, 2]
    const told = await redriveToKafka({ url: url('postgres'), brokers: url('kafka'), total, kills, signal })
    return {
      injected: { 'kill -9': told.kills },
      messages: total,
      lost: total - told.arrived,
      doubled: told.repeated,
      outOfOrder: told.outOfOrder,
      recoveryMs: null,
      allowed: { doubled: 'counted' },
      violations: [
        ...(told.skipped > 0 ? [`${told.skipped} skipped`] : []),
        ...(told.regenerated > 0 ? [`${told.regenerated} sent with two generations`] : []),
      ],
      notes: `${Math.round(told.letters / told.seconds)} letters a second`,
    }
  },
}
