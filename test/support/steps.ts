/** Where a process can die or stand still while it handles a message. */
export const steps = [
  'before the claim',
  'after the claim',
  'in the handler',
  'before COMMIT',
  'at COMMIT',
  'after COMMIT, before the ack',
] as const

export type Step = (typeof steps)[number]

export interface WorkerSettings {
  readonly url: string
  readonly schema: string
  readonly leaseMs: number
  readonly broken: string | undefined
}

export interface Order {
  readonly id: string
  readonly die?: Step
  readonly blockMs?: number
}

/** To the order of that number. */
export type Answer = { readonly n: number; readonly ack: string } | { readonly n: number; readonly nack: number }
