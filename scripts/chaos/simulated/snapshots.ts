/** As much of PostgreSQL's snapshots as the outbox rests on. */
export interface Snapshot {
  /** Transactions from this one on had not begun. */
  readonly xmax: number
  /** Those before it that were still running. */
  readonly running: ReadonlySet<number>
}

export interface Row {
  readonly xid: number
  readonly id: number
  readonly shard: number
  readonly slot: number
  readonly key: string
  readonly messageId: string
}

/** One table that is only ever added to, with transactions, a sequence and locks on keys. */
export interface SnapshotTable {
  readonly rows: readonly Row[]
  snapshot(): Snapshot
  /** Whether the row was committed when the snapshot was taken. */
  isVisible(row: Row, at: Snapshot): boolean
  begin(): WriteTransaction
  /** Whether a running transaction has written to the slot. */
  isLocked(slot: number): boolean
  truncate(slot: number): void
}

export interface WriteTransaction {
  /** Any write draws the transaction's number: often long before its row of the outbox. */
  write(): void
  /** Resolves when the key is this transaction's until it ends. */
  lock(key: string): Promise<void> | undefined
  insert(row: Omit<Row, 'xid' | 'id'>): void
  commit(): void
  rollback(): void
  readonly isOpen: boolean
}

export function snapshotTable(): SnapshotTable {
  let rows: Row[] = []
  let nextXid = 1
  let nextId = 1
  const running = new Set<number>()
  const committed = new Set<number>()
  const holders = new Map<string, object>()
  const waiting = new Map<string, (() => void)[]>()

  function begin(): WriteTransaction {
    let xid: number | undefined
    let isOpen = true
    const keys = new Set<string>()
    const me = {}

    function write(): number {
      if (xid === undefined) {
        xid = nextXid++
        running.add(xid)
      }
      return xid
    }

    function end(): void {
      isOpen = false
      if (xid !== undefined) running.delete(xid)
      for (const key of keys) {
        holders.delete(key)
        waiting.get(key)?.shift()?.()
      }
    }

    function take(key: string): void {
      holders.set(key, me)
      keys.add(key)
      // It may have been given up while it waited.
      if (!isOpen) end()
    }

    return {
      write: () => void write(),
      lock(key) {
        if (!holders.has(key)) {
          take(key)
          return undefined
        }
        return new Promise((resolve) => {
          const queue = waiting.get(key) ?? []
          waiting.set(key, queue)
          queue.push(() => {
            take(key)
            resolve()
          })
        })
      },
      insert: (row) => void rows.push({ ...row, xid: write(), id: nextId++ }),
      commit() {
        if (xid !== undefined) committed.add(xid)
        end()
      },
      rollback: end,
      get isOpen() {
        return isOpen
      },
    }
  }

  return {
    get rows() {
      return rows
    },
    begin,
    snapshot: () => ({ xmax: nextXid, running: new Set(running) }),
    isVisible: ({ xid }, at) => committed.has(xid) && xid < at.xmax && !at.running.has(xid),
    isLocked: (slot) => rows.some((row) => row.slot === slot && running.has(row.xid)),
    truncate(slot) {
      rows = rows.filter((row) => row.slot !== slot)
    },
  }
}
