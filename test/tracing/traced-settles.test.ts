import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { afterEach, expect, it } from 'vitest'
import { tracedSettles } from 'holdfast/tracing'
import { emitter } from '../../src/core/events.ts'
import { parentOf, withSdk } from './support.ts'

const sdk = withSdk()
const { publish } = emitter('committed')
let stop: (() => void) | undefined
afterEach(() => stop?.())

it('leaves a settle span for each commit, with how long it took', () => {
  stop = tracedSettles()
  publish({ system: 'kafka', destinations: ['orders'], partitions: 3, tookMs: 40 })
  const span = sdk.span('settle orders')
  expect(span.kind).toBe(SpanKind.CLIENT)
  expect(parentOf(span)).toBeUndefined()
  expect(span.duration[0] * 1000 + span.duration[1] / 1e6).toBeCloseTo(40, 0)
  expect(span.attributes).toEqual({
    'messaging.system': 'kafka',
    'messaging.operation.name': 'settle',
    'messaging.operation.type': 'settle',
    'messaging.destination.name': 'orders',
    'holdfast.settle.partitions': 3,
  })
})

it('marks a commit that failed, and names no destination where there are several', () => {
  stop = tracedSettles()
  publish({ system: 'kafka', destinations: ['a', 'b'], partitions: 2, tookMs: 1, error: new Error('rebalancing') })
  expect(sdk.span('settle').status).toEqual({ code: SpanStatusCode.ERROR, message: 'rebalancing' })
  expect(sdk.span('settle').attributes).not.toHaveProperty('messaging.destination.name')
})

it('leaves none once it is stopped', () => {
  tracedSettles()()
  publish({ system: 'kafka', destinations: ['orders'], partitions: 1, tookMs: 1 })
  expect(sdk.spans()).toEqual([])
})
