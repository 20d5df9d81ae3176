import type { CircuitRecord } from '../operations/store.ts'
import type { Operations } from '../operations/operations.ts'
import type { Html } from './html.ts'
import type { Times } from './times.ts'

/** Who looks. Viewers read; operators may also act, unless the page is read-only. */
export interface Operator {
  /** For the operator log. */
  readonly name: string
  readonly role: 'viewer' | 'operator'
}

/** One request of somebody who may read. */
export interface Visit {
  readonly ops: Operations
  readonly url: URL
  readonly links: Links
  readonly user: Operator
  /** Whether forms that act are shown, and taken. */
  readonly mayAct: boolean
  readonly formToken: string
  readonly times: Times
  /** `undefined` where nobody told how to ask. */
  readonly circuits: (() => Promise<readonly CircuitRecord[]>) | undefined
  readonly traceUrl: string | undefined
}

export type Params = Readonly<Record<string, string | undefined>>

export interface Links {
  readonly base: string
  /** The address of a page, with its question. */
  to(path: string, params?: Params): string
}

export function linksOf(base: string): Links {
  return {
    base,
    to(path, params = {}) {
      const question = new URLSearchParams()
      for (const [name, value] of Object.entries(params))
        if (value !== undefined && value !== '') question.set(name, value)
      return `${base}${path}${question.size === 0 ? '' : `?${question.toString()}`}`
    },
  }
}

export type Tab = 'overview' | 'letters' | 'redrives' | 'outbox' | 'keys' | 'message' | 'log' | 'none'

/** A page to show. */
export interface View {
  readonly title: string
  readonly tab: Tab
  readonly main: Html
  /** Asked again every few seconds while it is looked at. */
  readonly live?: boolean
  readonly status?: number
  /** When it was counted, where that was before it was asked for. */
  readonly takenMs?: number
}

/** After an act: another page, so that a reload does not act again. */
export interface Redirect {
  readonly goTo: string
}

export interface Download {
  readonly bytes: Uint8Array | string
  readonly type: string
  readonly fileName: string
}

export type Answer = View | Redirect | Download

/** What a form brought. */
export interface Fields {
  /** Empty where it is missing. */
  text(name: string): string
  has(name: string): boolean
  all(name: string): readonly string[]
  file(name: string): Promise<Uint8Array | undefined>
}

export interface Route {
  readonly method: 'GET' | 'POST'
  /** Matched against the whole path below the base. */
  readonly path: RegExp
  /** Most bytes of a form. @defaultValue 1 MB */
  readonly maxBytes?: number
  run(visit: Visit, parts: readonly string[], fields: Fields): Promise<Answer>
}
