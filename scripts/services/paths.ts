import { join, resolve } from 'node:path'

/** The folder of this checkout. */
export const projectDir = join(import.meta.dirname, '../..')

/** Data, logs, records, and what was fetched or built; ignored by git. */
export const servicesDir = resolve(process.env['HOLDFAST_SERVICES_DIR'] ?? join(projectDir, '.services'))
