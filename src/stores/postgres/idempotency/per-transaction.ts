import type { StatementRunner } from '../../../core/delivery.ts'

/** What is asked of one transaction without a pause travels as one statement. */
export function perTransaction<Asked, Answer>(
  send: (tx: StatementRunner, asked: readonly Asked[]) => Promise<readonly Answer[]>,
  otherwise: Answer,
): (tx: StatementRunner, asked: Asked) => Promise<Answer> {
  const open = new WeakMap<StatementRunner, { readonly asked: Asked[]; readonly answers: Promise<readonly Answer[]> }>()
  return async function ask(tx, request) {
    let batch = open.get(tx)
    if (batch === undefined) {
      const asked: Asked[] = []
      const answers = Promise.resolve().then(() => {
        open.delete(tx)
        return send(tx, asked)
      })
      batch = { asked, answers }
      open.set(tx, batch)
    }
    const at = batch.asked.push(request) - 1
    return (await batch.answers)[at] ?? otherwise
  }
}
