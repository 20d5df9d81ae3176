import { breaks, settingsFrom } from '../parking/settings.ts'
import { runLedger } from '../parking/run.ts'
import type { Scenario } from '../scenario.ts'

/** The ledger of `npm run chaos:parking`. */
export const parking: Scenario = {
  name: 'parking',
  what: 'consumers and parking workers are killed and paused while 5 % of the messages fail for a time and 1 % for good',
  promise: 'each message is handled once or dead-lettered, in the order of its key, and no key stays parked',
  needs: ['postgres', 'kafka'],
  breaks,
  async run({ seed, full, broken, url, say }) {
    const shape = full ? [] : ['--messages', '4000', '--keys', '80', '--spreadMs', '25000', '--failMs', '8000']
    const planted = broken === undefined ? [] : ['--broken', broken, '--maxMs', '90000']
    const { settings } = settingsFrom([...shape, ...planted, '--seed', String(seed)])
    const database = { url: url('postgres'), troubles: [], dispose: async () => {} }
    const outcome = await runLedger(settings, { database, address: { kind: 'kafka', url: url('kafka') }, say })
    const { messages, lost, doubled, outOfOrder, injected, both, leftParked, byWorker, peakParked, dead, deadMeant } =
      outcome
    const violations = [
      ...(both > 0 ? [`${both} handled and dead`] : []),
      ...(leftParked > 0 ? [`${leftParked} still parked`] : []),
      ...(dead !== deadMeant ? [`${dead} dead letters, ${deadMeant} meant`] : []),
    ]
    const notes = `${byWorker} handled by parking workers, ${peakParked} parked at most, ${dead} dead as meant`
    return { injected, messages, lost, doubled, outOfOrder, recoveryMs: null, violations, notes }
  },
}
