import { amqpConsumer, amqpPublisher, queue } from 'holdfast/amqp'
import { expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { privateArtemis } from '../../support/private-servers.ts'
import { describeWith } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { testAmqp, until } from './support.ts'

const numbered = (destination: string, count: number, from = 0) =>
  Array.from({ length: count }, (_, n) => outgoing({ destination, id: `m${from + n}`, key: 'k', body: null }))

if (isFull)
  describeWith(['artemis'], 'AMQP 1.0 on an Artemis that is killed', () => {
    it('A-4, A-18: keeps what was confirmed and the ids of it, and consumer and publisher go on', async () => {
      const broker = await privateArtemis()
      const test = testAmqp(broker.url)
      try {
        const address = test.queue()
        const publisher = amqpPublisher(test.connect(), { duplicateIds: true })
        await publisher.publish(numbered(address, 5))
        await test.send(address, [{ durable: false, message_id: 'not durable', body: 'x' }])
        await broker.kill('SIGKILL')
        const meanwhile = publisher.publish(numbered(address, 5, 5))
        await broker.start()
        await meanwhile
        // The repeat of what was stored before the kill.
        await publisher.publish(numbered(address, 5))
        const seen: string[] = []
        const stop = new AbortController()
        const handler = pipeline('orders').handle(({ message }) => void seen.push(message.id))
        const consumer = amqpConsumer({ connection: test.connect(), sources: [queue(address)], pipeline: handler })
        const running = consumer.run(stop.signal)
        await until('ten', () => seen.length === 10)
        await broker.kill('SIGKILL')
        await broker.start()
        await publisher.publish(numbered(address, 5, 10))
        await until('the later ones', () => seen.includes('m14'))
        stop.abort()
        await running
        expect([...new Set(seen)]).toEqual(Array.from({ length: 15 }, (_, n) => `m${n}`))
      } finally {
        await test.dispose()
        await broker.dispose()
      }
    }, 90_000)
  })

// A file needs a suite, also where its server is not there.
if (!isFull)
  describeFull('AMQP 1.0 on an Artemis that is killed', () => it('needs the full run', () => expect(isFull).toBe(true)))
