import { expect, it } from 'vitest'
import { describeWith, kafkaBrokers, natsUrl, rabbitmqUrl, redisUrl } from '../support/services.ts'
import { runExample } from './run.ts'

describeWith(['redis'], 'bullmq', () => {
  it('hands waits, retries and permanent failures to BullMQ', async () => {
    const ended = await runExample('examples/bullmq/main.ts', [], { REDIS_URL: redisUrl() })
    expect(ended.stdout).toBe(`\
  brewed 2 for order-1, attempt 1
an order: handled
a second job for it: duplicate
  brewed 1 for order-2, attempt 2
one that fails once: handled
  brewed 1 for order-3, attempt 1
one that has to wait: handled
one that cannot be: failed: Error: -1 cups
`)
    expect(ended.code).toBe(0)
  })
})

describeWith(['kafka'], 'existing-kafkajs-service', () => {
  it('doubles and stops before the changed line, and neither after it', async () => {
    const env = { KAFKA_BROKERS: kafkaBrokers().join(',') }
    const ended = await runExample('examples/existing-kafkajs-service/main.ts', [], env)
    expect(ended.stdout).toBe(`\
in the topic: order-1, order-2 twice, order-3 whose first charge fails, one that is no JSON, order-5
before: charged order-1, order-2, order-2, order-3
        then the consumer crashed, and would at every restart
after: charged order-1, order-2, order-3, order-5
       dead letters: 1
`)
    expect(ended.code).toBe(0)
  })
})

describeWith(['nats'], 'existing-nats-service', () => {
  it('doubles and goes round and round before the changed line, and neither after it', async () => {
    const ended = await runExample('examples/existing-nats-service/main.ts', [], { NATS_URL: natsUrl() })
    expect(ended.stdout).toBe(`\
in the stream: order-1, order-2 twice, order-3 whose first charge fails, one that is no JSON, order-5
before: charged order-1, order-2, order-2, order-3, order-5; not acked: 1
        and the one that is no JSON was delivered again and again, as fast as it can
after: charged order-1, order-2, order-3, order-5; not acked: 0
       dead letters: 1
`)
    expect(ended.code).toBe(0)
  })
})

describeWith(['rabbitmq'], 'existing-amqplib-service', () => {
  it('doubles and goes round and round before the changed line, and neither after it', async () => {
    const env = { RABBITMQ_URL: rabbitmqUrl() }
    const ended = await runExample('examples/existing-amqplib-service/main.ts', [], env)
    expect(ended.stdout).toBe(`\
in the queue: order-1, order-2 twice, order-3 whose first charge fails, one that is no JSON, order-5
before: charged order-1, order-2, order-2, order-3, order-5; left in the queue: 1
        and the one that is no JSON was delivered again and again, as fast as it can
after: charged order-1, order-2, order-3, order-5; left in the queue: 0
       dead letters: 1
`)
    expect(ended.code).toBe(0)
  })
})
