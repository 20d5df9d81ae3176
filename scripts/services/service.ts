import type { ContainerSpec } from './containers.ts'
import type { ProcessId } from './processes.ts'

export type Progress = (line: string) => void

/** Where one server keeps its data and logs, and the first of its ports. */
export interface Place {
  readonly dir: string
  readonly port: number
  readonly progress: Progress
}

/** A server that was started on this machine; it answers. */
export interface Started {
  readonly url: string
  readonly version: string
  readonly processes: readonly ProcessId[]
  /** Further addresses, by what they are for. */
  readonly also?: Readonly<Record<string, string>>
}

/** A server that tests and examples need, and the ways to get it. */
export interface Service {
  readonly name: string
  readonly title: string
  /** Environment variable that names a server to use as it is. */
  readonly urlVariable: string
  readonly defaultPort: number
  /** Ports in a row that it takes, the first one included. */
  readonly portCount: number
  readonly container?: (port: number) => ContainerSpec
  /** Starts it here, reusing what data the folder holds. Throws `Unavailable` where it cannot be had. */
  readonly start: (place: Place) => Promise<Started>
  /** Asks the server for its version; rejects while it does not answer. */
  readonly probe: (url: string) => Promise<string>
  /** The signal that shuts it down in good order. */
  readonly stopSignal: NodeJS.Signals
}

/** A service cannot be had on this machine; the message says what to install. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}
