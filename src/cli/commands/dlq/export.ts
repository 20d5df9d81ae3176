import type { Command } from '../../command.ts'
import { exits } from '../../exit.ts'
import { filterFlags } from '../../filters.ts'
import { jsonLine } from '../../print.ts'
import { all, selected } from './selection.ts'

export const exported: Command = {
  name: 'dlq export',
  summary: 'writes letters as lines of JSON, bodies in base64: for dlq import elsewhere',
  flags: { ...filterFlags, all },
  takes: '[letter…]',
  example: 'holdfast dlq export --all > letters.jsonl',
  async run(context) {
    const filter = selected(context, 'dlq export')
    const { letters } = context.ops.store
    let [written, before] = [0, undefined as string | undefined]
    await letters.note({ by: context.by, act: 'export', detail: filter })
    do {
      const page = await letters.list(filter, { limit: 500, ...(before !== undefined && { before }) })
      for (const { id } of page.letters) {
        const letter = await letters.letter(id)
        if (letter === undefined) continue
        const headers = Object.keys(letter.headers).map((name) => [name, letter.headers[name]])
        context.around.out(`${jsonLine({ ...letter, headers })}\n`)
        written++
      }
      before = page.next ?? undefined
      if (before !== undefined) context.around.err(`${written} letters written\n`)
    } while (before !== undefined && !context.around.signal.aborted)
    return exits.ok
  },
}
