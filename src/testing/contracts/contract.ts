/** One case of a contract. `run` rejects if the promise is broken. */
export interface ContractCase {
  readonly name: string
  readonly run: () => Promise<void>
}

interface Disposable {
  readonly dispose?: () => Promise<void>
}

/** Cases by name, each with a harness of its own that is always disposed of. */
export function contractOf<Harness extends Disposable>(
  create: () => Promise<Harness> | Harness,
  cases: Readonly<Record<string, (harness: Harness) => Promise<void>>>,
): readonly ContractCase[] {
  return Object.entries(cases).map(([name, check]) => ({
    name,
    async run() {
      const harness = await create()
      try {
        await check(harness)
      } finally {
        await harness.dispose?.()
      }
    },
  }))
}
