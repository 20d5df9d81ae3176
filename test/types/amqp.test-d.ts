import rhea, {
  type Connection,
  type Container,
  type Delivery,
  type Message,
  type Receiver,
  type Sender,
  type Session,
} from 'rhea'
import type { Pipeline, Publisher } from '../../src/index.ts'
import { amqpConsumer, amqpPublisher, queue, subscription, topic } from '../../src/transports/amqp/index.ts'
import type {
  AmqpConnection,
  AmqpContainer,
  AmqpDelivery,
  AmqpMessage,
  AmqpReceiver,
  AmqpSender,
  AmqpSession,
} from '../../src/transports/amqp/rhea-client.ts'

// The real types of rhea fit what the adapter takes.

declare const connection: Connection
declare const container: Container
declare const session: Session
declare const receiver: Receiver
declare const sender: Sender
declare const delivery: Delivery
declare const message: Message
declare const orders: Pipeline

amqpConsumer({ connection, sources: [queue('orders'), subscription('orders', 'billing')], pipeline: orders })
amqpConsumer({
  connection: rhea.connect({ host: 'localhost', port: 5672, idle_time_out: 10_000 }),
  sources: [{ address: 'orders', filter: rhea.filter.selector('cents > 100') }],
  pipeline: orders,
  id: ({ message_id: id }) => String(id),
})
const publisher: Publisher = amqpPublisher(container.connect({ port: 5672 }), { target: topic })

const whole: AmqpConnection = connection
const opened: AmqpSession = session
const reading: AmqpReceiver = receiver
const writing: AmqpSender = sender
const one: AmqpDelivery = delivery
const read: AmqpMessage = message
const codec: AmqpContainer = connection.container
void [publisher, whole, opened, reading, writing, one, read, codec]

// @ts-expect-error -- a container has no connection yet
amqpPublisher(container)
// @ts-expect-error -- a session is not a connection
amqpConsumer({ connection: session, sources: [queue('orders')], pipeline: orders })
