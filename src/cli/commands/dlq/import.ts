import type { Outgoing } from '../../../core/publisher.ts'
import { headersFrom, type HeaderValue } from '../../../core/message.ts'
import { metadataHeaders } from '../../../dead-letter/envelope.ts'
import type { Command } from '../../command.ts'
import { exits, usage } from '../../exit.ts'
import { say } from '../../print.ts'
import { isDeadLetterStore } from '../../../dead-letter/store.ts'

export const imported: Command = {
  name: 'dlq import',
  summary: 'reads the lines of dlq export from its input; a letter that is here already is not doubled',
  flags: {},
  example: 'holdfast dlq import --schema other < letters.jsonl',
  async run(context) {
    const { letters } = context.ops.store
    if (!('publish' in letters) || !isDeadLetterStore(letters as never))
      throw usage('dlq import: this store takes no letters')
    const target = letters as unknown as { publish(messages: readonly Outgoing[]): Promise<void> }
    let [line, taken] = [0, 0]
    for await (const text of context.around.readInput()) {
      line++
      if (text.trim() === '') continue
      await target.publish([messageFrom(text, line)])
      if (++taken % 1000 === 0) context.around.err(`${taken} letters read\n`)
    }
    await letters.note({ by: context.by, act: 'import', detail: { letters: taken } })
    say(context, `${taken} letters read`, { letters: taken })
    return exits.ok
  },
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
