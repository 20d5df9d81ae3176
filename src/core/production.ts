const warned = new Set<string>()

/** Says once a process that a store which forgets at the end is used where that costs money. */
export function warnInProduction(factory: string): void {
  if (process.env.NODE_ENV !== 'production' || warned.has(factory)) return
  warned.add(factory)
  process.emitWarning(
    `${factory}() forgets everything when the process ends, and no other process sees it: use a store in PostgreSQL or Redis`,
    {
      type: 'HoldfastWarning',
      code: 'HOLDFAST_MEMORY_STORE',
    },
  )
}
