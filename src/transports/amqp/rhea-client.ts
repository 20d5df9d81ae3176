/** What rhea tells a listener. */
export interface AmqpContext {
  readonly message?: AmqpMessage
  readonly delivery?: AmqpDelivery
  readonly error?: unknown
  readonly reconnecting?: boolean
}

export interface AmqpEvents {
  on(event: string, listener: (context: AmqpContext) => void): unknown
  removeListener(event: string, listener: (context: AmqpContext) => void): unknown
}

/** A connection of rhea, made with `rhea.connect()` or `container.connect()`. It stays the service's. */
export interface AmqpConnection extends AmqpEvents {
  readonly container: AmqpContainer
  /** What it was made with. */
  readonly options?: { readonly idle_time_out?: number | undefined } | undefined
  /** What the broker said of itself. */
  readonly properties?: { readonly [name: string]: unknown } | undefined
  readonly offered_capabilities?: unknown
  readonly error?: unknown
  get_option(name: string, otherwise: unknown): unknown
  create_session(bufferSize?: number): AmqpSession
  is_open(): boolean
  is_closed(): boolean
}

/** rhea's codec: it hangs on every container. */
export interface AmqpContainer {
  readonly message: {
    encode(message: object): Buffer
    data_section(data: Buffer): unknown
  }
}

export interface AmqpSession extends AmqpEvents {
  readonly error?: unknown
  open(): void
  close(): void
  open_receiver(options: object): AmqpReceiver
  open_sender(options: object): AmqpSender
}

export interface AmqpLink extends AmqpEvents {
  readonly error?: unknown
  is_open(): boolean
  /** Ends it for good: of a subscription, the subscription itself. */
  close(): void
  /** Ends it and leaves the subscription behind it. */
  detach(): void
}

export interface AmqpReceiver extends AmqpLink {
  /** As the broker answered it. Nothing where it refused the link. */
  readonly source?: { readonly address?: unknown } | null | undefined
  add_credit(credit: number): void
}

export interface AmqpSender extends AmqpLink {
  readonly target?: { readonly address?: unknown } | null | undefined
  readonly max_message_size?: number
  readonly credit?: number
  sendable(): boolean
  send(message: Buffer, tag?: Buffer | string, format?: number): AmqpDelivery
}

/** One transfer, in either direction. */
export interface AmqpDelivery {
  readonly id: number
  readonly tag: Buffer | string
  readonly remote_state?: unknown
  accept(): void
  reject(error?: AmqpCondition): void
}

export interface AmqpCondition {
  readonly condition?: string
  readonly description?: string
}

/** A message as rhea decodes it. */
export interface AmqpMessage {
  readonly message_id?: unknown
  readonly subject?: unknown
  readonly creation_time?: unknown
  readonly group_id?: unknown
  readonly correlation_id?: unknown
  readonly delivery_count?: unknown
  readonly application_properties?: { readonly [name: string]: unknown } | undefined
  readonly body?: unknown
}
