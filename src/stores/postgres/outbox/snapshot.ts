/** The parts of a `pg_snapshot` that a window needs: transactions from `xmax` on, and those in `running`, were not visible. */
export interface Snapshot {
  readonly xmax: string
  readonly running: readonly string[]
}

/** Reads `xmin:xmax:xip,xip,…`. */
export function parseSnapshot(text: string): Snapshot {
  const [, xmax = '', xip = ''] = text.split(':')
  return { xmax, running: xip === '' ? [] : xip.split(',') }
}
