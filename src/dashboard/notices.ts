import { html, type Html } from './html.ts'
import { note } from './layout.ts'
import { plural } from './widgets.ts'

type Tone = 'good' | 'warn'

/** What an act did, as the page after it says. The address names it; the words are ours. */
const notices: Readonly<Record<string, readonly [tone: Tone, say: (n: number) => string]>> = {
  'redrive-made': ['good', () => 'The redrive is made. The workers in your services run it.'],
  'redrive-paused': ['good', () => 'Paused. Letters that were begun come to their end.'],
  'redrive-running': ['good', () => 'Resumed.'],
  'redrive-cancelled': ['good', () => 'Cancelled. What was not begun stays dead.'],
  dropped: ['good', (n) => `${plural(n, 'letter')} dropped.`],
  restored: ['good', () => 'Restored: the letter is dead again.'],
  reopened: ['good', () => 'Reopened: the letter is dead again.'],
  edited: ['good', () => 'This is the new letter. Redrive it to send it.'],
  'outbox-replay': ['good', (n) => `${plural(n, 'message is', 'messages are')} in the outbox again.`],
  'outbox-skip': ['good', (n) => `${plural(n, 'message')} forgotten.`],
  'key-ok': ['good', () => 'The key can be claimed again.'],
  'key-forgotten': ['good', () => 'The key is forgotten.'],
  'key-held': ['warn', () => 'Nothing was done: the key is held again, and its lease has not ended.'],
  'key-none': ['warn', () => 'Nothing was done: the key is not in progress any more.'],
  'key-not-forgotten': ['warn', () => 'Nothing was done: the key is in progress, or nobody knows it any more.'],
  'lane-unblocked': ['good', () => 'Its first message runs again, and the others of the key behind it.'],
  'lane-dropped': ['good', (n) => `${plural(n, 'message')} dropped, and the key goes on.`],
  'lane-held': ['warn', () => 'Nothing was done: a worker runs a message of this key. Try again in a moment.'],
  'none-chosen': ['warn', () => 'Nothing was done: nothing was chosen.'],
  nothing: ['warn', () => 'Nothing was done: it changed in the meantime. This is how it is now.'],
}

export function noticeOf(url: URL): Html | null {
  const code = url.searchParams.get('done') ?? ''
  if (!Object.hasOwn(notices, code)) return null
  const found = notices[code]
  const n = url.searchParams.get('n') ?? ''
  return found === undefined ? null : note(found[0], html`<p>${found[1](/^\d{1,9}$/.test(n) ? Number(n) : 0)}</p>`)
}
