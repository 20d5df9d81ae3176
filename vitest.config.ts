import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

const src = (path: string) => join(import.meta.dirname, 'src', path)

/** The published names, so that tests and examples read as a user's code does. */
const alias = {
  'holdfast/postgres': src('stores/postgres/index.ts'),
  'holdfast/redis': src('stores/redis/index.ts'),
  'holdfast/kafkajs': src('transports/kafkajs/index.ts'),
  'holdfast/memory': src('transports/memory/index.ts'),
  'holdfast/testing': src('testing/index.ts'),
  'holdfast/vitest': src('vitest/index.ts'),
  'holdfast/policies': src('retry/index.ts'),
  'holdfast/dead-letters': src('dead-letter/index.ts'),
  'holdfast/logs': src('logs/logs.ts'),
  'holdfast/health': src('core/health.ts'),
  'holdfast/outbox': src('outbox/index.ts'),
  'holdfast/cloudevents': src('codecs/cloudevents.ts'),
  'holdfast/tracing': src('tracing/index.ts'),
  'holdfast/metrics': src('metrics/index.ts'),
  holdfast: src('index.ts'),
}

export default defineConfig({
  resolve: { alias },
  test: {
    reporters: ['default', './test/support/closing-line.ts'],
    pool: 'forks',
    // kafkajs computes a negative timer at connect, which Node 24 reports every time.
    execArgv: ['--disable-warning=TimeoutNegativeWarning'],
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.int.test.ts', 'test/package/**'],
          // Not a figure to meet: a machine that is busy with the servers must not fail a test.
          testTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'int',
          include: ['test/**/*.int.test.ts', 'examples/**/*.int.test.ts'],
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'package',
          include: ['test/package/**/*.test.ts'],
          globalSetup: ['test/package/global-setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
