import type { Command } from '../../command.ts'
import { exits, Stop } from '../../exit.ts'
import { say } from '../../print.ts'
import { instant, printable, printableLines } from '../../terminal.ts'
import { oneLetter } from './selection.ts'

export const show: Command = {
  name: 'dlq show',
  summary: 'shows one letter: error, headers, history, and its body where asked',
  flags: {
    body: { type: 'boolean', help: 'with its body, values masked' },
    reveal: { type: 'boolean', help: 'the body as it is; written to the operator log' },
  },
  takes: '<letter>',
  example: 'holdfast dlq show 17 --body',
  async run(context) {
    const id = oneLetter(context)
    const reveal = context.values['reveal'] === true
    const shown = await context.ops.show(id, { reveal, by: context.by })
    if (shown === undefined) throw new Stop(exits.refused, `there is no letter ${id}`)
    const { letter, body, bodyBytes } = shown
    const withBody = reveal || context.values['body'] === true
    if (context.json) {
      say(context, '', { ...letter, headers: { ...letter.headers }, bodyBytes, ...(withBody && { body }) })
      return exits.ok
    }
    const line = (name: string, text: string | number | null): void => {
      if (text !== null && text !== '') context.around.out(`${name.padEnd(12)}${printable(String(text))}\n`)
    }
    line('letter', `${letter.id} (${letter.state}), died ${letter.deaths} times, redriven ${letter.redrives} times`)
    line('message', letter.messageId)
    line('key', letter.key)
    line('pipeline', letter.pipeline)
    line(
      'from',
      [letter.origin.destination, letter.origin.partition, letter.origin.position]
        .filter((part) => part !== null)
        .join('/'),
    )
    line(
      'error',
      `${letter.errorName}${letter.errorCode === null ? '' : ` (${letter.errorCode})`}: ${letter.errorMessage}`,
    )
    line('reason', `${letter.reason}, after ${letter.attempts} attempts`)
    line('group', letter.group)
    line('trace', letter.traceId)
    line(
      'claim',
      letter.claimKey === null
        ? null
        : `${letter.claimScope ?? ''} ${letter.claimKey}: ${letter.claimState ?? 'forgotten, or kept elsewhere'}`,
    )
    line('replaces', letter.replaces)
    line('replaced by', letter.replacedBy)
    for (const { timeMs, errorName, errorMessage, host, version } of letter.history)
      line(
        'died',
        `${instant(timeMs)} ${errorName}: ${errorMessage} (${[host, version].filter((part) => part !== null).join(' ')})`,
      )
    for (const name of Object.keys(letter.headers)) line('header', `${name}: ${String(letter.headers[name])}`)
    line(
      'body',
      bodyBytes === null
        ? 'none: a tombstone'
        : `${bodyBytes} bytes${withBody ? '' : ' (--body shows it masked, --reveal as it is)'}`,
    )
    if (withBody) context.around.out(`${printableLines(body)}\n`)
    return exits.ok
  },
}
