/** The exit codes of the command. They never change their meaning. */
export const exits = {
  ok: 0,
  /** `doctor` and `status` found something that needs a person. */
  findings: 1,
  usage: 2,
  /** The server cannot be reached, or took too long. */
  unavailable: 3,
  /** Nobody said yes. */
  refused: 4,
  /** The tables are missing, too old or too new, or the role lacks rights. */
  schema: 5,
  /** Only a part was done. */
  partly: 6,
  /** Our fault. */
  bug: 70,
} as const

/** Ends the command with one line on stderr. */
export class Stop extends Error {
  readonly exit: number
  constructor(exit: number, message: string) {
    super(message)
    this.exit = exit
  }
}

export function usage(message: string): Stop {
  return new Stop(exits.usage, message)
}
