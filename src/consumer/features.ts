/** What a broker does of one thing, through this library. */
export interface Feature {
  readonly has: boolean
  /** How, in a few words. */
  readonly how: string
}

/** What a transport can do. The page "What each transport can do" is made of it, and `consumer.describe()` prints it. */
export interface Features {
  /** Members of a group share the messages. */
  readonly queue: Feature
  /** Every group gets all messages. */
  readonly pubsub: Feature
  /** A group can be moved back. */
  readonly replay: Feature
  /** A message that must wait. */
  readonly delay: Feature
  readonly order: Feature
  /** How far `parking()` keeps the order of a key on it. */
  readonly parkingOrder: Feature
  /** The broker counts deliveries. */
  readonly deliveryCount: Feature
  /** Whether a delivery is known to be the first of its message, so that `idempotency({ claim: 'inside' })` is used for it. */
  readonly firstDelivery: Feature
  /** The broker drops what is published twice. */
  readonly dedup: Feature
  readonly acks: Feature
  /** What stands for an id where the producer gave none. */
  readonly messageId: Feature
  readonly largestHeader: Feature
}

/** What the rows of the table are called. */
export const featureNames: Readonly<Record<keyof Features, string>> = {
  queue: 'queue: members share the messages',
  pubsub: 'pub/sub: every group gets all',
  replay: 'replay',
  delay: 'delay',
  order: 'order',
  parkingOrder: 'order with parking()',
  deliveryCount: 'delivery count',
  firstDelivery: 'first deliveries known',
  dedup: 'dedup when publishing',
  acks: 'acks',
  messageId: 'message id without a header',
  largestHeader: 'largest header',
}
