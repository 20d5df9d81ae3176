import { EventEmitter } from 'node:events'
import rhea from 'rhea'
import { expect, it } from 'vitest'
import { outgoing } from '../../../src/core/publisher.ts'
import { amqpPublisher } from '../../../src/transports/amqp/index.ts'
import type { AmqpConnection } from '../../../src/transports/amqp/rhea-client.ts'

/** A connection whose broker answers as the test says. */
function fakeConnection() {
  const sender = Object.assign(new EventEmitter(), {
    is_open: () => true,
    sendable: () => true,
    close() {},
    credit: 100,
  })
  const sent: object[] = []
  const send = (): object => {
    const delivery = { number: sent.length }
    sent.push(delivery)
    return delivery
  }
  const session = Object.assign(new EventEmitter(), { open() {}, close() {}, open_sender: (): unknown => link })
  const link = Object.assign(sender, { send })
  const connection = Object.assign(new EventEmitter(), {
    ...{ container: rhea, create_session: () => session, is_open: () => true, get_option: () => undefined },
  })
  const reject = (delivery: object | undefined, condition: string): void => {
    sender.emit('rejected', { delivery: Object.assign(delivery ?? {}, { remote_state: { error: { condition } } }) })
  }
  return {
    connection: connection as unknown as AmqpConnection,
    sent,
    reject,
    accept: (delivery: object | undefined) => sender.emit('accepted', { delivery }),
  }
}

const two = ['first', 'second'].map((id) => outgoing({ destination: 'orders', id, key: 'k', body: null }))

it('sends the next message of a key once the one before is accepted', async () => {
  const { connection, sent, accept } = fakeConnection()
  const publishing = amqpPublisher(connection).publish(two)
  expect(sent).toHaveLength(1)
  accept(sent[0])
  expect(sent).toHaveLength(2)
  accept(sent[1])
  await publishing
})

it('sends no message of a key behind one that a full address refused', async () => {
  const { connection, sent, reject } = fakeConnection()
  const publishing = amqpPublisher(connection).publish(two)
  reject(sent[0], 'amqp:resource-limit-exceeded')
  await expect(publishing).rejects.toMatchObject({ code: 'unavailable' })
  expect(sent).toHaveLength(1)
})

it('goes on with the key behind a message that is refused for good', async () => {
  const { connection, sent, reject, accept } = fakeConnection()
  const publishing = amqpPublisher(connection).publish(two)
  reject(sent[0], 'amqp:decode-error')
  expect(sent).toHaveLength(2)
  accept(sent[1])
  await expect(publishing).rejects.toMatchObject({ failures: [{ index: 0, permanent: true }] })
})
