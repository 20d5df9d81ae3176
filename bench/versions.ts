import { readFileSync } from 'node:fs'
import { up } from '../scripts/services/manager.ts'
import { serviceNamed } from '../scripts/services/table.ts'

/** `hono 4.13.19`: what is installed, for a figure means nothing without. */
export function packageVersion(name: string): string {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url)
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
  return `${name} ${version}`
}

/** `Redis 7.0.15`: brings the server up to ask it. */
export async function serverVersion(name: string): Promise<string> {
  const service = serviceNamed(name)
  const { version } = await up(service, (line) => process.stderr.write(`${name}: ${line}\n`))
  return `${service.title} ${version}`
}
