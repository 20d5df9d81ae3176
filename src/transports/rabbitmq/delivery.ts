import type { DeliveryContext } from '../../consumer/consumer.ts'
import type { QueueClient } from '../../consumer/queue/queue-client.ts'
import type { Delivery } from '../../core/delivery.ts'
import type { Bytes } from '../../core/message.ts'
import { recordFrom, type RabbitmqMessageId, type RabbitmqRecord } from './codec.ts'

/** Whether nobody was given the message before. One that the broker dead-lettered on its way has lost that mark. */
export function isFirst({ raw: { fields, properties } }: RabbitmqRecord): boolean {
  return !fields.redelivered && properties.headers?.['x-death'] === undefined
}

/** Makes deliveries of the messages of any queue. */
export function deliveryReader(id: RabbitmqMessageId | undefined): QueueClient<RabbitmqRecord>['deliveryOf'] {
  return (record, queue, context) => deliveryOf(record, queue, context, id)
}

/** A message as a delivery. A throw is a nack of this message. */
export function deliveryOf(
  record: RabbitmqRecord,
  queue: string,
  context: DeliveryContext,
  id: RabbitmqMessageId | undefined,
): Delivery<Bytes> {
  // Asked again at every attempt: what it needs may be there by now.
  const { raw, message, idError } = record.idError === undefined ? record : recordFrom(record.raw, queue, id)
  if (idError !== undefined) throw idError
  const { pipeline, group, attempt, first = false, signal, draining } = context
  const { exchange, routingKey, deliveryTag } = raw.fields
  const origin = {
    system: 'rabbitmq',
    // The default exchange has no name: what was published to it was published to the queue.
    destination: exchange === '' ? queue : exchange,
    partition: queue,
    position: String(deliveryTag),
    group,
    routingKey,
  }
  return { message, bytes: message.body, pipeline, origin, attempt, first, signal, draining, raw }
}
