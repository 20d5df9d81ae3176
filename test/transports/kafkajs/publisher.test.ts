import { expect, it } from 'vitest'
import { isPublishError } from '../../../src/core/errors.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { kafkajsPublisher } from '../../../src/transports/kafkajs/publisher.ts'

/** A producer to which Kafka answers with an error of this type. */
const answering = (type: string) => ({
  sendBatch: () => Promise.reject(Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type })),
})

async function publishing(type: string): Promise<unknown> {
  const message = outgoing({ destination: 'orders', body: null })
  return kafkajsPublisher(answering(type))
    .publish([message])
    .catch((error: unknown) => error)
}

it('O-6: takes INVALID_TIMESTAMP for an outage: it is the clock of this machine that is wrong, not the message', async () => {
  const error = await publishing('INVALID_TIMESTAMP')
  expect(error).toBeInstanceOf(Error)
  expect(isPublishError(error)).toBe(false)
  expect(String(error)).toContain('clock')
})

it('O-7: names a message that Kafka refuses for itself as permanent', async () => {
  expect(await publishing('MESSAGE_TOO_LARGE')).toMatchObject({ failures: [{ index: 0, permanent: true }] })
})
