import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RedriveOptions } from '../../dead-letter/store.ts'
import type { Command, Context } from '../command.ts'
import { confirm, needSelection, yesFlag } from '../confirm.ts'
import { exits, Stop, usage } from '../exit.ts'
import { filterFlags, filterFrom, numberFlag } from '../filters.ts'
import { jsonLine, print, say, watching } from '../print.ts'
import { instant, printable, printableLines } from '../terminal.ts'

const limit = { type: 'string', help: 'how many at most, 50 unless told' } as const
const all = { type: 'boolean', help: 'every letter that is dead' } as const
const states = ['dead', 'redriving', 'resolved', 'replaced', 'dropped'] as const

const ls: Command = {
  name: 'dlq ls',
  summary: 'lists dead letters, newest first',
  flags: {
    ...filterFlags,
    limit,
    before: { type: 'string', help: 'the `next` that the page before told' },
    state: { type: 'string', multiple: true, help: `one of ${states.join(', ')}; dead and redriving unless told` },
    watch: { type: 'boolean', help: 'again every two seconds' },
  },
  takes: '[letter…]',
  example: 'holdfast dlq ls --pipeline billing --since 2h',
  run: (context) =>
    watching(context, async () => {
      const before = context.values['before']
      const wanted = statesFrom(context)
      const page = await context.ops.store.letters.list(filterFrom(context) ?? {}, {
        limit: numberFlag(context, 'limit', 1, 10_000) ?? 50,
        ...(typeof before === 'string' && { before }),
        ...(wanted.length > 0 && { states: wanted }),
      })
      print(context, page.letters, [
        ['letter', ({ id }) => id],
        ['died', ({ deadMs }) => instant(deadMs)],
        ['state', ({ state }) => state],
        ['pipeline', ({ pipeline }) => pipeline],
        ['message', ({ messageId }) => messageId],
        ['key', ({ key }) => key],
        ['deaths', ({ deaths }) => deaths],
        ['error', ({ errorName, errorMessage }) => `${errorName}: ${errorMessage}`],
      ])
      if (page.next !== null && !context.json) context.around.out(`more: --before ${page.next}\n`)
      return exits.ok
    }),
}

function statesFrom({ values }: Context) {
  const given = values['state']
  const named = Array.isArray(given) ? (given as readonly string[]) : []
  return named.map((name) => {
    const state = states.find((each) => each === name)
    if (state === undefined) throw usage(`--state is one of ${states.join(', ')}, got '${printable(name)}'`)
    return state
  })
}

const groups: Command = {
  name: 'dlq groups',
  summary: 'counts dead letters by the shape of their error',
  flags: { ...filterFlags, limit, watch: { type: 'boolean', help: 'again every two seconds' } },
  example: 'holdfast dlq groups',
  run: (context) =>
    watching(context, async () => {
      const found = await context.ops.store.letters.groups(
        filterFrom(context) ?? {},
        numberFlag(context, 'limit', 1, 1000) ?? 50,
      )
      print(context, found, [
        ['letters', ({ letters }) => letters],
        ['group', ({ group }) => group],
        ['pipeline', ({ pipeline }) => pipeline],
        ['last', ({ lastMs }) => instant(lastMs)],
        ['error', ({ errorName, shape }) => `${errorName}: ${shape}`],
      ])
      return exits.ok
    }),
}

const show: Command = {
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

function oneLetter({ args }: Context): string {
  const [id] = args
  if (args.length !== 1 || id === undefined || !/^\d{1,18}$/.test(id)) throw usage('give the number of one letter')
  return id
}

const redrive: Command = {
  name: 'dlq redrive',
  summary: 'makes a redrive of letters; the workers in your services run it',
  flags: {
    ...filterFlags,
    all,
    'dry-run': { type: 'boolean', help: 'says what would happen, and does nothing' },
    rate: { type: 'string', help: 'letters a second, of all workers together' },
    canary: { type: 'string', help: 'so many letters first, then it pauses' },
    route: {
      type: 'string',
      help: 'pipeline, or destination: publishes to the origin, where other groups handle it twice',
    },
    'max-redrives': { type: 'string', help: 'leaves letters alone that were redriven so often, 3 unless told' },
    yes: yesFlag,
  },
  takes: '[letter…]',
  example: 'holdfast dlq redrive --group 1-0a1b2c3d4e5f6071 --rate 10 --canary 5',
  async run(context) {
    const filter = filterFrom(context) ?? (context.values['all'] === true ? {} : undefined)
    if (filter === undefined) throw needSelection('dlq redrive')
    const route = context.values['route']
    if (route !== undefined && route !== 'pipeline' && route !== 'destination')
      throw usage(`--route is pipeline or destination, got '${printable(String(route))}'`)
    const perSecond = numberFlag(context, 'rate', 0.001, 1_000_000, false)
    const canary = numberFlag(context, 'canary', 1, 1_000_000)
    const maxRedrives = numberFlag(context, 'max-redrives', 1, 1000)
    const options: RedriveOptions = {
      ...(route !== undefined && { route }),
      ...(perSecond !== undefined && { perSecond }),
      ...(canary !== undefined && { canary }),
      ...(maxRedrives !== undefined && { maxRedrives }),
    }
    const { letters } = context.ops.store
    const preview = await letters.preview(filter, options)
    const { matched, taken, guarded, completed, conflicts, keys, free } = preview
    const told = [
      `${matched} letters of ${keys} keys match`,
      ...(taken > 0 ? [`${taken} are in another redrive`] : []),
      ...(completed > 0 ? [`${completed} are completed already and will not run`] : []),
      ...(guarded > 0 ? [`${guarded} were redriven too often and are left to a person`] : []),
      ...(conflicts > 0 ? [`${conflicts} have the key of another content: edit them first`] : []),
    ].join('; ')
    if (context.values['dry-run'] === true) {
      say(context, told, preview)
      return exits.ok
    }
    if (free === 0) {
      say(context, `${told}: nothing to redrive`, preview)
      return exits.ok
    }
    if (!context.json) context.around.err(`${told}\n`)
    await confirm(context, 'dlq redrive', free, 'letters')
    const made = await letters.create(filter, options, context.by)
    if (made === undefined) throw new Stop(exits.refused, 'others took these letters meanwhile: nothing was done')
    say(
      context,
      `redrive ${made.id}: ${made.total} letters. Follow it with: holdfast redrive show ${made.id} --watch`,
      made,
    )
    return made.total < free ? exits.partly : exits.ok
  },
}

const drop: Command = {
  name: 'dlq drop',
  summary: 'gives letters up; restore takes it back until they are cleaned up',
  flags: { ...filterFlags, all, yes: yesFlag },
  takes: '[letter…]',
  example: 'holdfast dlq drop 17 18',
  async run(context) {
    const filter = filterFrom(context) ?? (context.values['all'] === true ? {} : undefined)
    if (filter === undefined) throw needSelection('dlq drop')
    const { letters } = context.ops.store
    const { matched } = await letters.preview(filter)
    if (matched > 0) await confirm(context, 'dlq drop', matched, 'letters')
    const dropped = await letters.drop(filter, context.by)
    say(context, `${dropped.length} of ${matched} letters dropped`, { matched, dropped: dropped.length })
    return dropped.length < matched ? exits.partly : exits.ok
  },
}

function byNumber(name: 'restore' | 'reopen', summary: string): Command {
  return {
    name: `dlq ${name}`,
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

const edit: Command = {
  name: 'dlq edit',
  summary: 'makes a new letter with another body or other headers; send it with dlq redrive',
  flags: {
    'body-file': { type: 'string', help: 'a file with the new body, byte for byte' },
    'set-header': { type: 'string', multiple: true, help: 'name=value; name= removes it' },
  },
  takes: '<letter>',
  example: 'holdfast dlq edit 17 --body-file fixed.json',
  async run(context) {
    const id = oneLetter(context)
    const headers: Record<string, string | null> = {}
    const given = context.values['set-header']
    for (const pair of Array.isArray(given) ? (given as readonly string[]) : []) {
      const at = pair.indexOf('=')
      if (at < 1) throw usage(`--set-header takes name=value, got '${printable(pair)}'`)
      headers[pair.slice(0, at)] = at === pair.length - 1 ? null : pair.slice(at + 1)
    }
    const file = context.values['body-file']
    if (typeof file !== 'string' && Object.keys(headers).length === 0)
      throw usage('dlq edit: give --body-file or --set-header')
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

const exported: Command = {
  name: 'dlq export',
  summary: 'writes letters as lines of JSON, bodies in base64: for dlq import elsewhere',
  flags: { ...filterFlags, all },
  takes: '[letter…]',
  example: 'holdfast dlq export --all > letters.jsonl',
  async run(context) {
    const filter = filterFrom(context) ?? (context.values['all'] === true ? {} : undefined)
    if (filter === undefined) throw needSelection('dlq export')
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

const log: Command = {
  name: 'dlq log',
  summary: 'lists what operators did, newest first',
  flags: { limit },
  example: 'holdfast dlq log --limit 20',
  async run(context) {
    const acts = await context.ops.store.letters.log({ limit: numberFlag(context, 'limit', 1, 10_000) ?? 50 })
    print(context, acts, [
      ['at', ({ atMs }) => instant(atMs)],
      ['by', ({ by }) => by],
      ['act', ({ act }) => act],
      ['letter', ({ letter }) => letter],
      ['redrive', ({ redrive: id }) => id],
      ['detail', ({ detail }) => (detail === null ? null : JSON.stringify(detail))],
    ])
    return exits.ok
  },
}

const erase: Command = {
  name: 'erase',
  summary: 'empties every letter about a subject, for good',
  flags: { subject: { type: 'string', help: 'whom the letters are about' }, yes: yesFlag },
  example: 'holdfast erase --subject customer-17',
  async run(context) {
    const subject = context.values['subject']
    if (typeof subject !== 'string' || subject === '') throw usage('erase: give --subject')
    const { letters } = context.ops.store
    const found = await letters.list({ subject }, { limit: 10_000, states })
    if (found.letters.length > 0) await confirm(context, 'erase', found.letters.length, 'letters for good')
    const erased = await letters.erase({ subject }, context.by)
    say(context, `${erased} letters erased`, { erased })
    return exits.ok
  },
}

export const dlqCommands: readonly Command[] = [
  ls,
  groups,
  show,
  redrive,
  edit,
  drop,
  byNumber('restore', 'takes drops back'),
  byNumber('reopen', 'makes letters dead again that were sent and of which nothing was heard'),
  exported,
  log,
  erase,
]
