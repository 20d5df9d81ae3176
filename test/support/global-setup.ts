import type { TestProject } from 'vitest/node'
import { up } from '../../scripts/services/manager.ts'
import { sweepPrivateServers } from './private-servers.ts'
import { Unavailable } from '../../scripts/services/service.ts'
import { defaultNames, serviceNamed, services } from '../../scripts/services/table.ts'
import type { ServiceAddress } from './services.ts'
import { isFull } from './skipped.ts'

/** Brings up the real servers before the first `.int.test.ts`; they stay up, `npm run services -- down` stops them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const asked = process.env['HOLDFAST_TEST_SERVICES']?.split(/[\s,]+/).filter((name) => name !== '')
  const usual = isFull ? services.map(({ name }) => name) : defaultNames
  const names = asked === undefined || asked.length === 0 ? usual : asked
  const addresses: Record<string, ServiceAddress> = {}
  const missing: string[] = []
  await Promise.all(
    names.map(async (name) => {
      try {
        const { url, also } = await up(serviceNamed(name), (line) => console.error(`${name}: ${line}`))
        addresses[name] = { url, also }
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error
        missing.push(`${name} is not available: ${error.message}`)
      }
    }),
  )
  if (missing.length > 0 && process.env['CI'] === 'true') throw new Error(missing.join('\n'))
  for (const line of missing) console.warn(`${line}. The tests that need it are skipped.`)
  project.provide('services', addresses)
  return sweepPrivateServers
}
