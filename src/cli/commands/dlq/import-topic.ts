import { textOf } from '../../../core/errors.ts'
import type { Publisher } from '../../../core/publisher.ts'
import { importDeadLetters } from '../../../dead-letter/import.ts'
import type { Context, Flags } from '../../command.ts'
import { exits, Stop, usage } from '../../exit.ts'
import { numberFlag, timeFrom } from '../../filters.ts'
import { say } from '../../print.ts'
import { printable } from '../../terminal.ts'

export const topicFlags: Flags = {
  since: { type: 'string', help: 'skips what died earlier than 90s, 15m, 2h, 3d ago, or than a date; 30d unless told' },
  'quiet-ms': { type: 'string', help: 'ends once nothing came for so long, 10000 unless told' },
  follow: { type: 'boolean', help: 'does not end by itself' },
}

const monthMs = 30 * 86_400_000
const needsConsume =
  "dlq import --topic needs `consume` in the config file: ({ topic, pipeline, signal }) => kafkajsConsumer({ kafka, groupId: 'holdfast-import', topics: [topic], pipeline }).run(signal)"

/** Reads a topic into the store until nothing came for a while, or until it is interrupted. Its consumer acks what is stored. */
export async function importTopic(context: Context, topic: string, target: Publisher): Promise<number> {
  const { around, config, ops, by } = context
  const { consume } = config
  if (topic === '') throw usage('--topic must not be empty')
  if (typeof consume !== 'function') throw usage(needsConsume)
  const { quietMs, maxAgeMs } = limitsFrom(context)
  const over = new AbortController()
  const signal = AbortSignal.any([around.signal, over.signal])
  const quiet = quietMs === undefined ? undefined : setTimeout(() => over.abort(), quietMs)
  const counted: Counted = { letters: 0, 'no-dead-letter': 0, 'too-old': 0 }
  const count = (what: keyof Counted): void => {
    counted[what]++
    quiet?.refresh()
    if (what === 'letters' && counted.letters % 1000 === 0) around.err(`${counted.letters} letters read\n`)
  }
  let broken: { readonly error: unknown } | undefined
  const to: Publisher = {
    async publish(messages, options) {
      try {
        await target.publish(messages, options)
      } catch (error) {
        // Nothing is lost: what is not stored is not acked, and comes again.
        if (!signal.aborted) broken ??= { error }
        over.abort()
        throw error
      }
      count('letters')
    },
  }
  try {
    await consume({ topic, pipeline: importDeadLetters({ to, maxAgeMs, onSkip: ({ why }) => count(why) }), signal })
  } catch (error) {
    if (!signal.aborted)
      throw new Stop(exits.unavailable, `${printable(topic)} cannot be read: ${printable(textOf(error).errorMessage)}`)
  } finally {
    clearTimeout(quiet)
  }
  if (broken !== undefined) throw broken.error
  await ops.store.letters.note({ by, act: 'import', detail: { topic, letters: counted.letters } })
  tell(context, topic, counted)
  return exits.ok
}

type Counted = Record<'letters' | 'no-dead-letter' | 'too-old', number>

function limitsFrom(context: Context): { readonly quietMs: number | undefined; readonly maxAgeMs: number } {
  const { follow, since } = context.values
  const quietMs = numberFlag(context, 'quiet-ms', 1, 86_400_000) ?? 10_000
  const maxAgeMs = typeof since === 'string' ? Date.now() - timeFrom('since', since) : monthMs
  if (maxAgeMs <= 0) throw usage('--since must not lie in the future')
  return { quietMs: follow === true ? undefined : quietMs, maxAgeMs }
}

function tell(context: Context, topic: string, { letters, ...skipped }: Counted): void {
  const { 'no-dead-letter': strange, 'too-old': old } = skipped
  const parts = [
    `${letters} letters read`,
    ...(strange > 0 ? [`${strange} messages are no dead letters`] : []),
    ...(old > 0 ? [`${old} letters died too long ago`] : []),
  ]
  say(context, parts.join(', '), { topic, letters, skipped })
  if (letters + strange + old === 0)
    context.around.err(`nothing came from ${printable(topic)}: is that its name, or did this group read it before?\n`)
}
