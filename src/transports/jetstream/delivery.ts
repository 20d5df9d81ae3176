import type { DeliveryContext } from '../../consumer/consumer.ts'
import type { Delivery } from '../../core/delivery.ts'
import type { Bytes } from '../../core/message.ts'
import type { NatsRecord } from './record.ts'

/** Where a delivery came from: the subject without its partition, and the partition's name where there is one. */
export interface NatsPlace {
  readonly destination: string
  readonly partition: string | null
}

/** A message as a delivery. A throw is a nack of this message. */
export function deliveryOf(
  record: NatsRecord,
  { destination, partition }: NatsPlace,
  { pipeline, group, attempt, first = false, signal, draining }: DeliveryContext,
): Delivery<Bytes> {
  const { raw, seq, message, idError } = record.idError === undefined ? record : record.again()
  if (idError !== undefined) throw idError
  const origin = { system: 'nats', destination, partition, position: String(seq), group }
  return { message, bytes: message.body, pipeline, origin, attempt, first, signal, draining, raw }
}
