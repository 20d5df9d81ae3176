/* eslint-disable @typescript-eslint/no-unnecessary-type-assertion -- declarations are written file by file: a name in a constant needs its type said */
import type { Decoded } from './protobuf.ts'

// Field numbers are those of PulsarApi.proto.
const property = { key: [1, 'text'], value: [2, 'text'] } as const

export const messageId = {
  ledgerId: [1, 'number'],
  entryId: [2, 'number'],
  partition: [3, 'number'],
} as const
export type MessageId = Decoded<typeof messageId>

export const metadata = {
  producerName: [1, 'text'],
  sequenceId: [2, 'number'],
  publishTime: [3, 'number'],
  properties: [4, property as typeof property, 'repeated'],
  partitionKey: [6, 'text'],
  compression: [8, 'number'],
  uncompressedSize: [9, 'number'],
  messages: [11, 'number'],
  eventTime: [12, 'number'],
  encryptionKeys: [13, 'bytes', 'repeated'],
  isKeyBase64: [17, 'flag'],
  markerType: [20, 'number'],
  isNull: [25, 'flag'],
  uuid: [26, 'text'],
  chunks: [27, 'number'],
  chunkId: [29, 'number'],
  hasNullKey: [30, 'flag'],
} as const
export type Metadata = Decoded<typeof metadata>

/** Of one message in a batch. */
export const single = {
  properties: [1, property as typeof property, 'repeated'],
  partitionKey: [2, 'text'],
  payloadSize: [3, 'number'],
  isCompactedOut: [4, 'flag'],
  eventTime: [5, 'number'],
  isKeyBase64: [6, 'flag'],
  isNull: [9, 'flag'],
  hasNullKey: [10, 'flag'],
} as const

const keyShared = { mode: [1, 'number'], allowsDisorder: [4, 'flag'] } as const
const authData = { method: [1, 'text'], data: [2, 'bytes'] } as const

/** Commands by name, with their number and the fields that we read or write. */
export const commands = {
  connect: [
    2,
    {
      clientVersion: [1, 'text'],
      authData: [3, 'bytes'],
      protocolVersion: [4, 'number'],
      authMethod: [5, 'text'],
      proxyToBrokerUrl: [6, 'text'],
      features: [10, { supportsAuthRefresh: [1, 'flag'] }],
    },
  ],
  connected: [3, { serverVersion: [1, 'text'], protocolVersion: [2, 'number'], maxMessageSize: [3, 'number'] }],
  subscribe: [
    4,
    {
      topic: [1, 'text'],
      subscription: [2, 'text'],
      type: [3, 'number'],
      consumerId: [4, 'number'],
      requestId: [5, 'number'],
      consumerName: [6, 'text'],
      isDurable: [8, 'flag'],
      initialPosition: [13, 'number'],
      keyShared: [17, keyShared as typeof keyShared],
    },
  ],
  producer: [
    5,
    {
      topic: [1, 'text'],
      producerId: [2, 'number'],
      requestId: [3, 'number'],
      producerName: [4, 'text'],
      isNameGiven: [9, 'flag'],
    },
  ],
  send: [6, { producerId: [1, 'number'], sequenceId: [2, 'number'], messages: [3, 'number'] }],
  sendReceipt: [
    7,
    { producerId: [1, 'number'], sequenceId: [2, 'number'], messageId: [3, messageId as typeof messageId] },
  ],
  sendError: [8, { producerId: [1, 'number'], sequenceId: [2, 'number'], error: [3, 'number'], message: [4, 'text'] }],
  message: [
    9,
    { consumerId: [1, 'number'], messageId: [2, messageId as typeof messageId], redeliveryCount: [3, 'number'] },
  ],
  ack: [
    10,
    {
      consumerId: [1, 'number'],
      type: [2, 'number'],
      messageIds: [3, messageId as typeof messageId, 'repeated'],
      requestId: [8, 'number'],
    },
  ],
  flow: [11, { consumerId: [1, 'number'], permits: [2, 'number'] }],
  success: [13, { requestId: [1, 'number'] }],
  error: [14, { requestId: [1, 'number'], error: [2, 'number'], message: [3, 'text'] }],
  closeProducer: [15, { producerId: [1, 'number'], requestId: [2, 'number'] }],
  closeConsumer: [16, { consumerId: [1, 'number'], requestId: [2, 'number'] }],
  producerSuccess: [
    17,
    { requestId: [1, 'number'], producerName: [2, 'text'], lastSequenceId: [3, 'number'], isReady: [6, 'flag'] },
  ],
  ping: [18, {}],
  pong: [19, {}],
  partitions: [21, { topic: [1, 'text'], requestId: [2, 'number'] }],
  partitionsAnswer: [
    22,
    {
      partitions: [1, 'number'],
      requestId: [2, 'number'],
      response: [3, 'number'],
      error: [4, 'number'],
      message: [5, 'text'],
    },
  ],
  lookup: [23, { topic: [1, 'text'], requestId: [2, 'number'], isAuthoritative: [3, 'flag'] }],
  lookupAnswer: [
    24,
    {
      url: [1, 'text'],
      tlsUrl: [2, 'text'],
      response: [3, 'number'],
      requestId: [4, 'number'],
      isAuthoritative: [5, 'flag'],
      error: [6, 'number'],
      message: [7, 'text'],
      isThroughProxy: [8, 'flag'],
    },
  ],
  seek: [28, { consumerId: [1, 'number'], requestId: [2, 'number'], messageId: [3, messageId as typeof messageId] }],
  authChallenge: [
    36,
    { serverVersion: [1, 'text'], challenge: [2, authData as typeof authData], protocolVersion: [3, 'number'] },
  ],
  authResponse: [
    37,
    { clientVersion: [1, 'text'], response: [2, authData as typeof authData], protocolVersion: [3, 'number'] },
  ],
  ackAnswer: [38, { consumerId: [1, 'number'], error: [4, 'number'], message: [5, 'text'], requestId: [6, 'number'] }],
} as const

export type CommandName = keyof typeof commands
export type Command<N extends CommandName> = Decoded<(typeof commands)[N][1]>
/** Any command, as it arrives. */
export type Arrived = { readonly [N in CommandName]: { readonly name: N; readonly value: Command<N> } }[CommandName]
