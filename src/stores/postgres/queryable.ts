import { having } from '../../core/options.ts'
import { checkClient } from '../clients.ts'

/** What one statement needs of a PostgreSQL client: a pool, a client or a transaction. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<QueryAnswer>
}

export interface QueryAnswer {
  readonly rows: readonly unknown[]
  readonly rowCount: number | null
  /** The command tag, if the client returns it. It shows whether a COMMIT was a ROLLBACK. */
  readonly command?: string
}

/** Sends one statement and gives its rows. */
export type RunStatement = (text: string, values: unknown[]) => Promise<readonly unknown[]>

/** A client on loan from a pool. */
export interface PoolClientSlice extends Queryable {
  /** Returns the client. With `true` or an error the pool closes it. */
  release(error?: Error | boolean): void
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  /** `I` outside a transaction, `T` inside one, `E` inside a failed one. `null` if the client does not know. */
  getTransactionStatus?(): string | null
}

/** Lends clients. Both overloads of `pg.Pool.connect`: inferring from one alone makes the client `unknown`. */
export interface PoolSlice<Client> {
  connect(): Promise<Client>
  connect(
    callback: (error: Error | undefined, client: Client | undefined, done: (release?: Error | boolean) => void) => void,
  ): void
  /** The pool's options. `max` is the most clients that it lends. */
  readonly options?: { readonly max?: number | undefined }
}

/** Refuses what is no pool for the statements of a store, and says what would be one. */
export function checkPool(where: string, pool: unknown): void {
  checkClient(where, 'pool', pool, having('query'), {
    not: ['a DataSource of TypeORM', 'Drizzle', 'Kysely', 'Prisma'],
    instead: {
      'the sql of postgres.js': `${where}(postgresjsRunner(sql))`,
      'a transaction of postgres.js': 'its statements would be part of that transaction; give postgresjsRunner(sql)',
      'a DataSource of TypeORM': underneath,
      Drizzle: underneath,
      Kysely: underneath,
      Knex: underneath,
      Prisma: underneath,
    },
  })
}
const underneath = 'give a pool of pg, of its own'
