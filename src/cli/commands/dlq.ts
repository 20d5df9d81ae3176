import type { Command } from '../command.ts'
import { byNumber, drop, erase } from './dlq/decide.ts'
import { edit } from './dlq/edit.ts'
import { exported } from './dlq/export.ts'
import { imported } from './dlq/import.ts'
import { groups, log, ls } from './dlq/list.ts'
import { redrive } from './dlq/redrive.ts'
import { show } from './dlq/show.ts'

export const dlqCommands: readonly Command[] = [
  ls,
  groups,
  show,
  redrive,
  edit,
  drop,
  byNumber('restore', 'takes drops back'),
  byNumber('reopen', 'makes sent letters without a result dead again'),
  exported,
  log,
  erase,
  imported,
]
