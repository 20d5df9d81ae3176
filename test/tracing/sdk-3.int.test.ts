import { existsSync, readFileSync } from 'node:fs'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { runExample } from '../examples/run.ts'

const folder = join(import.meta.dirname, 'sdk-3')

interface Seen {
  readonly outcome: string
  readonly traceparent: string
  readonly spans: readonly {
    readonly name: string
    readonly traceId: string
    readonly spanId: string
    readonly parent: string | null
    readonly events: readonly string[]
  }[]
  readonly instruments: readonly string[]
}

describe('the third generation of the SDK', () => {
  beforeAll(async () => {
    if (!existsSync(join(folder, 'node_modules')))
      await promisify(execFile)('npm', ['ci', '--no-audit', '--ignore-scripts'], { cwd: folder })
  })

  it('is another than the one that everything else is tested with', () => {
    const versionIn = (place: string): unknown => {
      const { version } = JSON.parse(readFileSync(join(place, 'package.json'), 'utf8')) as { readonly version: string }
      return version.split('.').slice(0, 2).join('.')
    }
    expect(versionIn(join(folder, 'node_modules/@opentelemetry/sdk-trace'))).toMatch(/^3\./)
    expect(versionIn(join(folder, 'node_modules/@opentelemetry/api'))).toBe('1.10')
    expect(versionIn(join(folder, '../../../node_modules/@opentelemetry/api'))).toBe('1.9')
  })

  it.each([
    ['with one copy of the API', ['--one-api']],
    ['with a copy of the API for each', []],
  ])('%s: the same spans, events, headers and instruments', async (_, flags) => {
    const ended = await runExample('test/tracing/sdk-3/check.js', flags)
    expect(ended.stderr).toBe('')
    const { outcome, traceparent, spans, instruments } = JSON.parse(ended.stdout) as Seen
    expect(outcome).toBe('handled')
    const [send, , , processed] = spans
    expect(spans.map(({ name, parent, events }) => [name, parent, events])).toEqual([
      ['send orders', null, []],
      ['query 1', processed?.spanId, []],
      ['query 2', processed?.spanId, []],
      ['process orders', send?.spanId, ['attempt failed']],
    ])
    expect(traceparent).toBe(`00-${send?.traceId}-${send?.spanId}-01`)
    expect(instruments).toEqual(expect.arrayContaining(['holdfast.deliveries', 'messaging.process.duration']))
  })
})
