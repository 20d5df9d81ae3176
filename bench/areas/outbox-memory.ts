import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Row } from '../measure.ts'
import type { OutboxServer } from './outbox-server.ts'
import { row } from './outbox-rounds.ts'

const bytes = 100
const child = fileURLToPath(new URL('outbox-memory-child.ts', import.meta.url))

/** The most that a process with one relay takes, before a backlog and before one that is several times as large. */
export async function* memoryRow(server: OutboxServer): AsyncIterable<Row> {
  // Below this the collector sees no reason yet to keep the heap small.
  const few = process.env['HOLDFAST_FULL'] === '1' ? 1_000_000 : 300_000
  const many = process.env['HOLDFAST_FULL'] === '1' ? 10_000_000 : 1_000_000
  const most = async (rows: number): Promise<number> => {
    await server.empty()
    await server.fill(rows, bytes)
    const { stdout } = await promisify(execFile)(process.execPath, [child, server.url, String(rows)])
    return Number(stdout)
  }
  const [small, big] = [await most(few), await most(many)]
  yield row({
    name: `a relay's memory before ${many.toLocaleString('en')} messages`,
    beside: `before ${few.toLocaleString('en')}`,
    ratios: [big / small],
    target: { cost: 1.25 },
    detail: `${megabytes(big)} beside ${megabytes(small)}, the whole process at its most`,
  })
}

function megabytes(value: number): string {
  return `${Math.round(value / 1e6)} MB`
}
