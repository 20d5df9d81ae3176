import { describe } from 'vitest'

/** Says whether this is `npm run test:full`: with every server, and with what takes long. */
export const isFull = process.env['HOLDFAST_FULL'] === '1'

const MARK = ' (skipped: '

/** A suite that is skipped when there is a reason. The reason is printed at the end of the run. */
export function describeUnless(reason: string | undefined, title: string, body: () => void): void {
  if (reason === undefined) describe(title, body)
  else describe.skip(`${title}${MARK}${reason})`, body)
}

/** A suite that takes long or needs more servers: `npm run test:full` runs it. */
export function describeFull(title: string, body: () => void): void {
  describeUnless(isFull ? undefined : 'only npm run test:full runs it', title, body)
}

/** The reason in a suite's full name, where there is one. */
export function reasonIn(fullName: string): string | undefined {
  const start = fullName.indexOf(MARK)
  if (start < 0) return undefined
  const reason = fullName.slice(start + MARK.length)
  return reason.slice(0, reason.indexOf(')'))
}
