import { badOption } from '../../core/options.ts'

/** A schema's name, quoted for SQL. Anything but a plain lower-case identifier is refused, so that nothing can be injected. */
export function quotedSchema(where: string, schema: string): string {
  // A user's name may be anything in SQL; ours may not, since `pg_dump`, grants and people type it.
  if (typeof schema !== 'string' || !/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw badOption(
      where,
      'schema',
      'a name of a-z, 0-9 and _ that does not start with a digit, at most 63 long',
      schema,
    )
  return `"${schema}"`
}

/** A role's name, quoted for SQL. Any name will do: it is not ours to choose. */
export function quotedRole(where: string, option: string, role: string): string {
  if (typeof role !== 'string' || role === '' || role.includes('\0'))
    throw badOption(where, option, 'the name of a role', role)
  return `"${role.replaceAll('"', '""')}"`
}
