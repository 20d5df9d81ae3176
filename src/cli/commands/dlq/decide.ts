import type { Erased } from '../../../operations/index.ts'
import type { Command } from '../../command.ts'
import { confirm, yesFlag } from '../../confirm.ts'
import { exits, usage } from '../../exit.ts'
import { filterFlags, filterFrom } from '../../filters.ts'
import { say } from '../../print.ts'
import { all, selected } from './selection.ts'

export const drop: Command = {
  name: 'dlq drop',
  acts: true,
  summary: 'gives letters up; restore takes it back until they are cleaned up',
  flags: { ...filterFlags, all, yes: yesFlag },
  takes: '[letter…]',
  example: 'holdfast dlq drop 17 18',
  async run(context) {
    const filter = selected(context, 'dlq drop')
    const { letters } = context.ops.store
    const { matched } = await letters.preview(filter)
    if (matched > 0) await confirm(context, 'dlq drop', matched, 'letters')
    const dropped = await letters.drop(filter, context.by)
    say(context, `${dropped.length} of ${matched} letters dropped`, { matched, dropped: dropped.length })
    return dropped.length < matched ? exits.partly : exits.ok
  },
}

export function byNumber(name: 'restore' | 'reopen', summary: string): Command {
  return {
    name: `dlq ${name}`,
    acts: true,
    summary,
    flags: {},
    takes: '<letter…>',
    example: `holdfast dlq ${name} 17`,
    async run(context) {
      const filter = filterFrom(context)
      if (filter?.ids === undefined) throw usage(`dlq ${name}: give the numbers of letters`)
      const done = await context.ops.store.letters[name](filter.ids, context.by)
      say(context, `${done.length} of ${filter.ids.length} letters are dead again`, {
        asked: filter.ids.length,
        done: done.length,
      })
      return done.length < filter.ids.length ? exits.partly : exits.ok
    },
  }
}

export const erase: Command = {
  name: 'erase',
  acts: true,
  summary: 'erases a subject for good: its letters, and parked and outbox rows whose key it is',
  flags: {
    subject: { type: 'string', help: 'whom the letters are about; the key of parked and outbox rows' },
    yes: yesFlag,
  },
  example: 'holdfast erase --subject customer-17',
  async run(context) {
    const subject = context.values['subject']
    if (typeof subject !== 'string' || subject === '') throw usage('erase: give --subject')
    const { store } = context.ops
    const found = await store.erasable?.(subject)
    if (found === undefined || store.erase === undefined) throw usage('erase: this store cannot erase')
    const many = found.letters + found.parked + found.outbox
    if (many > 0) await confirm(context, 'erase', many, `rows for good: ${countsOf(found)}`)
    const erased = await store.erase(subject, context.by)
    const left = erased.left === 0 ? '' : `; ${erased.left} are left: ${whyLeft}`
    say(context, `erased: ${countsOf(erased)}${left}`, { ...erased })
    return erased.left === 0 ? exits.ok : exits.partly
  },
}

const whyLeft =
  'a worker holds the key, or a publication of all tables lets nobody delete outbox rows. Erase again when they are handled'

function countsOf({ letters, parked, outbox }: Erased): string {
  return `${letters} letters, ${parked} parked messages, ${outbox} outbox rows`
}
