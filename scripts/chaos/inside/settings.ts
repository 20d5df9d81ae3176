/** One run of claims inside the handler's transaction. */
export interface InsideRun {
  readonly name: string
  readonly messages: number
  readonly mode: 'single' | 'batch'
  readonly isolation: 'read committed' | 'repeatable read' | 'serializable'
  /** Through pgbouncer in transaction mode. */
  readonly pooled?: boolean
}

export interface InsideWorkerSettings extends InsideRun {
  readonly url: string
  readonly schema: string
  readonly leaseMs: number
  readonly broken: string | null
}

/** What a worker is told. */
export interface InsideOrder {
  readonly n: number
  readonly id: string
  readonly first: boolean
}

/** What it answers. `nack` is the message of the error. */
export type InsideAnswer = { readonly n: number } & ({ readonly ack: string } | { readonly nack: string })

/** The same messages are poison, fail now and then, or take long in every process. */
export const isPoison = (id: string): boolean => perMille(id, 7) < 10
export const isFlaky = (id: string): boolean => perMille(id, 13) < 50
export const isSlow = (id: string): boolean => perMille(id, 29) < 60

function perMille(id: string, salt: number): number {
  let hash = salt
  for (const letter of id) hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) | 0
  return (hash >>> 0) % 1000
}
