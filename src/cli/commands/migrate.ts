import { migrate, migrationPlan, migrationUndo } from '../../stores/postgres/index.ts'
import type { Command, Flag } from '../command.ts'
import { confirm, yesFlag } from '../confirm.ts'
import { exits } from '../exit.ts'
import { numberFlag } from '../filters.ts'
import { say } from '../print.ts'

const from: Flag = { type: 'string', help: 'the version that is there already' }

const plan: Command = {
  name: 'migrate plan',
  summary: 'prints the SQL of every step, to review or to run by other means',
  flags: { from },
  example: 'holdfast migrate plan --from 2 > upgrade.sql',
  offline: true,
  run(context) {
    const sql = migrationPlan({ schema: context.schema, from: numberFlag(context, 'from', 0, 1e6) ?? 0 })
    context.around.out(context.json ? `${JSON.stringify({ sql })}\n` : sql)
    return Promise.resolve(exits.ok)
  },
}

const rollback: Command = {
  name: 'migrate rollback-plan',
  summary: 'prints the SQL that takes steps back; what their tables hold is lost',
  flags: { from: { type: 'string', help: 'the version to go back to' } },
  example: 'holdfast migrate rollback-plan --from 2',
  offline: true,
  run(context) {
    const sql = migrationUndo({ schema: context.schema, from: numberFlag(context, 'from', 0, 1e6) ?? 0 })
    context.around.out(context.json ? `${JSON.stringify({ sql })}\n` : sql)
    return Promise.resolve(exits.ok)
  },
}

const apply: Command = {
  name: 'migrate apply',
  summary: 'brings the schema up to this version; safe to run twice and at once',
  flags: { yes: yesFlag },
  example: 'holdfast migrate apply --yes',
  async run(context) {
    const { missing } = await context.ops.store.schema()
    if (missing.length > 0) await confirm(context, 'migrate apply', missing.length, 'steps')
    const applied = await migrate(context.pool, { schema: context.schema })
    say(context, applied.length === 0 ? 'nothing to apply' : `applied: ${applied.join(', ')}`, { applied })
    return exits.ok
  },
}

export const migrateCommands: readonly Command[] = [plan, apply, rollback]
