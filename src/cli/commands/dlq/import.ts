import type { Outgoing, Publisher } from '../../../core/publisher.ts'
import { headersFrom, type HeaderValue } from '../../../core/message.ts'
import { metadataHeaders } from '../../../dead-letter/envelope.ts'
import type { Command, Context } from '../../command.ts'
import { exits, usage } from '../../exit.ts'
import { say } from '../../print.ts'
import { importTopic, topicFlags } from './import-topic.ts'

export const imported: Command = {
  name: 'dlq import',
  acts: true,
  summary: 'takes dead letters from a topic, or from the lines of dlq export in its input; none is doubled',
  flags: {
    topic: {
      type: 'string',
      help: 'a topic or queue of dead letters; `consume` in the config file says how to read it',
    },
    ...topicFlags,
  },
  example: 'holdfast dlq import --topic orders.dead-letters',
  async run(context) {
    const { topic } = context.values
    const target = targetOf(context)
    if (typeof topic === 'string') return importTopic(context, topic, target)
    const alone = Object.keys(topicFlags).find((name) => context.values[name] !== undefined)
    if (alone !== undefined) throw usage(`--${alone} needs --topic`)
    return importLines(context, target)
  },
}

function targetOf({ ops }: Context): Publisher {
  const { letters } = ops.store
  if (!('publish' in letters) || typeof letters.publish !== 'function')
    throw usage('dlq import: this store takes no letters')
  return letters as typeof letters & Publisher
}

async function importLines(context: Context, target: Publisher): Promise<number> {
  let [line, taken] = [0, 0]
  for await (const text of context.around.readInput()) {
    line++
    if (text.trim() === '') continue
    await target.publish([messageFrom(text, line)])
    if (++taken % 1000 === 0) context.around.err(`${taken} letters read\n`)
  }
  await context.ops.store.letters.note({ by: context.by, act: 'import', detail: { letters: taken } })
  say(context, `${taken} letters read`, { letters: taken })
  return exits.ok
}

function messageFrom(text: string, line: number): Outgoing {
  const bad = (): Error => usage(`line ${line} is no letter of dlq export: ${taken(line)} before it were read`)
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed !== 'object' || parsed === null) throw bad()
    const read = (name: string): unknown => Reflect.get(parsed, name)
    const [id, type, pipeline] = [read('messageId'), read('type'), read('pipeline')]
    if (typeof id !== 'string' || typeof type !== 'string' || typeof pipeline !== 'string') throw bad()
    const headers = read('headers')
    const pairs = Array.isArray(headers) ? (headers as readonly (readonly [string, unknown])[]) : []
    const key = read('key')
    return {
      id,
      type,
      key: typeof key === 'string' ? key : null,
      timeMs: Number(read('producedMs')),
      body: bytesFrom(read('body')),
      destination: 'import',
      headers: headersFrom([
        ...pairs.map(
          ([name, value]) => [name, Array.isArray(value) ? value.map(valueFrom) : valueFrom(value)] as const,
        ),
        ...metadataHeaders(parsed),
      ]),
    }
  } catch {
    throw bad()
  }
}

function taken(line: number): string {
  return `${line - 1} lines`
}

function bytesFrom(value: unknown): Buffer | null {
  const base64: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'base64') : undefined
  return typeof base64 === 'string' ? Buffer.from(base64, 'base64') : null
}

function valueFrom(value: unknown): HeaderValue {
  return bytesFrom(value) ?? String(value)
}
