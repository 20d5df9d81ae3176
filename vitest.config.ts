import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { LongFirst } from './test/support/long-first.ts'
import { publishedSources } from './test/support/published-sources.ts'

/** The published names lead to the source, so that tests and examples read as a user's code does. */
const alias = Object.entries(publishedSources).map(([name, replacement]) => ({
  find: new RegExp(`^${name}$`),
  replacement,
}))
// Another version of a client: test/transports/platformatic-kafka/newest-client.int.test.ts
const platformaticKafka = process.env['HOLDFAST_TEST_PLATFORMATIC_KAFKA']
if (platformaticKafka !== undefined) alias.push({ find: /^@platformatic\/kafka$/, replacement: platformaticKafka })

export default defineConfig({
  resolve: { alias },
  test: {
    reporters: ['default', './test/support/closing-line.ts'],
    pool: 'forks',
    // kafkajs computes a negative timer at connect, which Node 24 reports every time.
    execArgv: ['--disable-warning=TimeoutNegativeWarning'],
    // Each file and each program that a test starts is a process: all of them find what is compiled already.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/compiled') },
    // More than two cores: tests of real servers wait for them half of their time.
    maxWorkers: 4,
    sequence: { sequencer: LongFirst },
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
