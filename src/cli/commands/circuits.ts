import type { Command } from '../command.ts'
import { exits } from '../exit.ts'
import { print } from '../print.ts'

const ls: Command = {
  name: 'circuits ls',
  summary: 'lists the circuits that processes share, open ones first',
  flags: { open: { type: 'boolean', help: 'without those that are closed' } },
  example: 'holdfast circuits ls --open',
  async run(context) {
    const all = (await context.ops.store.circuits?.()) ?? []
    const shown = all.filter(({ state }) => context.values['open'] !== true || state !== 'closed')
    print(context, shown, [
      ['circuit', ({ name }) => name],
      ['state', ({ state }) => state],
      ['epoch', ({ epoch }) => epoch],
      ['probed by', ({ prober }) => prober ?? ''],
      ['next probe', ({ state, leftMs }) => (state === 'open' ? `in ${Math.ceil(leftMs / 100) / 10} s` : '')],
      ['processes', ({ processes, openVotes }) => `${processes}${openVotes > 0 ? `, ${openVotes} say open` : ''}`],
    ])
    return exits.ok
  },
}

export const circuitCommands: readonly Command[] = [ls]
