import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from '../../command.ts'
import { exits, Stop, usage } from '../../exit.ts'
import { say } from '../../print.ts'
import { printable } from '../../terminal.ts'
import { oneLetter } from './selection.ts'

export const edit: Command = {
  name: 'dlq edit',
  acts: true,
  summary: 'makes a new letter with another body or other headers; send it with dlq redrive',
  flags: {
    'body-file': { type: 'string', help: 'a file with the new body, byte for byte' },
    'set-header': { type: 'string', multiple: true, help: 'name=value; name= removes it' },
  },
  takes: '<letter>',
  example: 'holdfast dlq edit 17 --body-file fixed.json',
  async run(context) {
    const id = oneLetter(context)
    // From pairs: an object would lose a name like __proto__.
    const pairs: [name: string, value: string | null][] = []
    const given = context.values['set-header']
    for (const pair of Array.isArray(given) ? (given as readonly string[]) : []) {
      const at = pair.indexOf('=')
      if (at < 1) throw usage(`--set-header takes name=value, got '${printable(pair)}'`)
      pairs.push([pair.slice(0, at), at === pair.length - 1 ? null : pair.slice(at + 1)])
    }
    const headers = Object.fromEntries(pairs)
    const file = context.values['body-file']
    if (typeof file !== 'string' && pairs.length === 0) throw usage('dlq edit: give --body-file or --set-header')
    const body =
      typeof file === 'string'
        ? await readFile(join(context.around.cwd, file)).catch(() => {
            throw usage(`--body-file: ${printable(file)} cannot be read`)
          })
        : undefined
    const { letters } = context.ops.store
    const old = await letters.letter(id)
    if (old === undefined) throw new Stop(exits.refused, `there is no letter ${id}`)
    const made = await letters.edit(id, old.settled, { headers, ...(body !== undefined && { body }) }, context.by)
    if (made === undefined)
      throw new Stop(exits.refused, `letter ${id} is ${old.state}: only a dead letter can be edited, once`)
    say(context, `letter ${made} replaces letter ${id}. Send it with: holdfast dlq redrive ${made}`, {
      letter: made,
      replaces: id,
    })
    return exits.ok
  },
}
