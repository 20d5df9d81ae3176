import * as stable from '@opentelemetry/semantic-conventions'
import * as incubating from '@opentelemetry/semantic-conventions/incubating'
import { expect, it } from 'vitest'
import { instruments } from '../../src/core/recorder/instruments.ts'
import { attributes, operations } from '../../src/tracing/semconv.ts'

const published = new Set<unknown>([...Object.values<unknown>(stable), ...Object.values<unknown>(incubating)])

it('uses the names that OpenTelemetry publishes', () => {
  const used = [...Object.values(attributes), ...Object.values(operations), instruments.duration.name]
  expect(used.filter((name) => !published.has(name))).toEqual([])
})

it('has no name of ours among theirs', () => {
  const ours = Object.values(instruments).filter(({ name }) => name.startsWith('holdfast.'))
  expect(ours.length).toBeGreaterThan(20)
  expect(ours.filter(({ name }) => published.has(name))).toEqual([])
})
