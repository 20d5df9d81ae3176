import { parseArgs } from 'node:util'

/** The protections that this run leaves out, so that its audit can be seen to fail: `--without claims`. */
export function withoutFrom<Name extends string>(args: string[], names: readonly Name[]): ReadonlySet<Name> {
  try {
    const { values } = parseArgs({ args, options: { without: { type: 'string', multiple: true, default: [] } } })
    return new Set(
      values.without.map((given) => {
        const known = names.find((name) => name === given)
        if (known === undefined) throw new Error(`--without takes ${names.join(' or ')}, got ${given}`)
        return known
      }),
    )
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exit(2)
  }
}
