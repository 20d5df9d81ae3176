import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'

// Preloaded into an example that a test runs: the published names lead to the source, so that no build is needed.
const src = join(import.meta.dirname, '../../src')
const sources = new Map([
  ['holdfast', 'index.ts'],
  ['holdfast/postgres', 'stores/postgres/index.ts'],
  ['holdfast/redis', 'stores/redis/index.ts'],
  ['holdfast/kafkajs', 'transports/kafkajs/index.ts'],
  ['holdfast/memory', 'transports/memory/index.ts'],
  ['holdfast/testing', 'testing/index.ts'],
  ['holdfast/vitest', 'vitest/index.ts'],
  ['holdfast/outbox', 'outbox/index.ts'],
  ['holdfast/tracing', 'tracing/index.ts'],
  ['holdfast/metrics', 'metrics/index.ts'],
])

registerHooks({
  resolve(specifier, context, nextResolve) {
    const source = sources.get(specifier)
    return nextResolve(source === undefined ? specifier : pathToFileURL(join(src, source)).href, context)
  },
})
