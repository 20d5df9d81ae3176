// A process of its own, so that nothing but the relay is in its memory: prints the most that it took, in bytes.
import { outboxRelay } from 'holdfast/outbox'
import { postgresOutboxStore } from 'holdfast/postgres'
import pg from 'pg'

const [url, rows] = process.argv.slice(2)
const pool = new pg.Pool({ connectionString: url, max: 8 })
let left = Number(rows)
const stop = new AbortController()
await outboxRelay({
  store: postgresOutboxStore(pool),
  publisher: {
    async publish(messages) {
      left -= messages.length
      if (left <= 0) stop.abort()
    },
  },
}).run(stop.signal)
await pool.end()
console.log(process.resourceUsage().maxRSS * 1024)
