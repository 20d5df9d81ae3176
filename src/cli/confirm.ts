import type { Context, Flag } from './command.ts'
import { exits, Stop } from './exit.ts'

export const yesFlag: Flag = { type: 'boolean', short: 'y', help: 'does not ask' }

/** Before a destructive act, asks for the number of what it changes. Without a terminal it needs --yes. */
export async function confirm(context: Context, act: string, count: number, what: string): Promise<void> {
  const { values, around } = context
  if (values['yes'] === true) return
  if (!around.interactive)
    throw new Stop(exits.refused, `${act} would act on ${count} ${what}: give --yes where nobody can be asked`)
  const said = await around.ask(`${act}: ${count} ${what}. Type the number to go on: `)
  if (said.trim() !== String(count)) throw new Stop(exits.refused, 'nothing was done')
}
