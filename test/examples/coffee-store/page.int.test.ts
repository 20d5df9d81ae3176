import { expect, it } from 'vitest'
import { switchNames } from '../../../examples/coffee-store/page/switches.ts'
import { describeWith, kafkaBrokers, postgresUrl } from '../../support/services.ts'
import { otlpReceiver } from '../../tracing/otlp-receiver.ts'
import { runExample } from '../run.ts'

const demo = 'examples/coffee-store/main.ts'
const playOnce = ['--page', '--once', '--json', '--seed', '7']

interface Told {
  readonly on: string
  readonly ok: boolean
  readonly shown: Readonly<Record<string, number>>
  readonly invariants: readonly { readonly name: string; readonly ok: boolean; readonly found: string }[]
}

describeWith(['kafka', 'postgres'], 'the page of the coffee store', () => {
  const servers = () => ['--kafka', kafkaBrokers().join(','), '--postgres', postgresUrl()]

  it('holds on Kafka and PostgreSQL, through the outbox, in traces of their own', { timeout: 180_000 }, async () => {
    const receiver = await otlpReceiver()
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }
    const flags = [...playOnce, ...servers(), '--jaeger', receiver.url]
    const { code, stdout, stderr } = await runExample(demo, flags, env)
    await receiver.close()
    expect(stderr).toBe('')
    const told = JSON.parse(stdout) as Told
    expect(told.invariants.filter(({ ok }) => !ok)).toEqual([])
    expect(told).toMatchObject({ on: 'Kafka and PostgreSQL', ok: true, orders: 320, poison: 8, clicks: 480 })
    for (const name of switchNames) expect(told.shown[name], name).toBeGreaterThan(0)
    expect(code).toBe(0)

    const spans = receiver.spans()
    const made = spans.find(
      ({ name, attributes }) => /^create/.test(name) && attributes['messaging.message.id'] === 'order-1',
    )
    const names = spans.filter(({ traceId }) => traceId === made?.traceId).map(({ name }) => name.split(' ')[0])
    expect(names.filter((name) => name === 'process').length).toBeGreaterThanOrEqual(4)
  })
})
