import { explanationAsMermaid } from '../../operations/index.ts'
import type { Command } from '../command.ts'
import { exits, usage } from '../exit.ts'
import { print, say, watching } from '../print.ts'
import { lookedAt } from './keys.ts'
import { duration, instant, printable } from '../terminal.ts'

const status: Command = {
  name: 'status',
  summary: 'says at a glance what is dead, what is redriven, what waits and what is stuck',
  flags: { watch: { type: 'boolean', help: 'again every two seconds' } },
  example: 'holdfast status --watch',
  run: (context) =>
    watching(context, async () => {
      const seen = await context.ops.overview()
      const { letters, groups, moreGroups, redrives, outbox, staleKeys, blockedKeys, keysBound } = seen
      const running = redrives.filter(({ state }) => state === 'running' || state === 'paused')
      const unheld = outbox?.shards.filter(({ held }) => !held).length ?? 0
      const findings = letters + staleKeys.length + blockedKeys.length + (outbox?.dead ?? 0) + unheld > 0
      const lines = [
        `dead letters: ${letters} in ${groups.length}${moreGroups ? ' or more' : ''} groups`,
        ...groups
          .slice(0, 5)
          .map((group) => `  ${group.letters} of ${group.pipeline}: ${group.errorName}: ${group.shape}`),
        `redrives under way: ${running.length}`,
        ...running.map((each) => `  ${each.id} ${each.state}, ${each.total - each.open} of ${each.total}`),
        outbox === undefined
          ? 'outbox: none'
          : `outbox: ${outbox.pending} to publish${outbox.oldestAgeMs === null ? '' : `, the oldest for ${duration(outbox.oldestAgeMs)}`}, ${outbox.dead} refused, ${unheld} of ${outbox.shards.length} shards without a relay`,
        `keys without a holder: ${staleKeys.length}${keysBound === undefined ? '' : ` (${lookedAt(keysBound)})`}`,
        `blocked keys: ${blockedKeys.length}`,
      ]
      say(context, lines.map(printable).join('\n'), {
        letters,
        groups,
        redrives: running,
        outbox: outbox ?? null,
        staleKeys,
        blockedKeys,
        ...(keysBound !== undefined && { keysBound }),
      })
      return findings ? exits.findings : exits.ok
    }),
}

const explain: Command = {
  name: 'explain',
  summary: 'tells what happened to a message: its claims, letters, redrives and outbox rows in one timeline',
  flags: { mermaid: { type: 'boolean', help: 'as a Mermaid diagram' } },
  takes: '<message-id>',
  example: 'holdfast explain order-7',
  async run(context) {
    const [id] = context.args
    if (id === undefined || context.args.length !== 1) throw usage('give the id of one message')
    const told = await context.ops.explain(id)
    if (context.values['mermaid'] === true) {
      context.around.out(`${explanationAsMermaid(told)}\n`)
      return exits.ok
    }
    if (context.json) {
      say(context, '', told)
      return exits.ok
    }
    print(context, told.happenings, [
      ['at', ({ atMs }) => (atMs === null ? 'now' : instant(atMs))],
      ['source', ({ source }) => source],
      ['who', ({ who }) => who],
      ['what', ({ what }) => what],
    ])
    for (const trace of told.traceIds) context.around.out(`trace ${printable(trace)}\n`)
    for (const part of told.incomplete) context.around.err(`not searched to the end: ${part}\n`)
    return exits.ok
  },
}

export const statusCommands: readonly Command[] = [status, explain]
