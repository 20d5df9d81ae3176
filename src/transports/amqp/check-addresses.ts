import type { Clock } from '../../core/clock.ts'
import { inTime } from '../in-time.ts'
import { outcomeError, reasonOf, unavailable } from './errors.ts'
import type { AmqpConnection, AmqpSession } from './rhea-client.ts'

export interface AddressCheck {
  readonly connection: AmqpConnection
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly signal: AbortSignal
}

const management = 'activemq.management'
const timeoutMs = 5_000

type Settings = Readonly<Record<string, unknown>>

/**
 * Asks Artemis for the settings of addresses.
 * @returns what is worth knowing, for `health()`.
 * @throws HoldfastError (`unavailable`) for an address whose settings lose messages or the order of their keys.
 */
export async function checkAddresses(check: AddressCheck): Promise<readonly string[]> {
  const { connection, addresses, clock, signal } = check
  if (connection.properties?.['product'] !== 'apache-activemq-artemis')
    return ['the settings of the addresses were not checked: only Artemis can be asked for them']
  const session = connection.create_session()
  let found: readonly Settings[]
  try {
    found = await inTime(ask(connection, session, addresses), signal, { broker: 'Artemis', timeoutMs, clock })
  } catch (error) {
    return [`the settings of the addresses were not checked: ${reasonOf(error)}`]
  } finally {
    session.close()
  }
  return found.flatMap((settings, at) => {
    const address = addresses[at] ?? ''
    const fault = faultIn(settings)
    if (fault !== undefined) throw unavailable(`address ${address} has ${fault}`)
    const note = noteOn(settings)
    return note === undefined ? [] : [`address ${address} has ${note}`]
  })
}

function faultIn(settings: Settings): string | undefined {
  const attempts = attemptsOf(settings)
  if (attempts !== -1 && typeof settings['deadLetterAddress'] !== 'string')
    return `max-delivery-attempts ${attempts} and no dead-letter-address: after that many deaths of consumers, Artemis deletes what they had in memory. Set max-delivery-attempts to -1`
  if (settings['addressFullMessagePolicy'] === 'DROP')
    return 'address-full-policy DROP: a full address confirms messages and throws them away. Set it to PAGE, BLOCK or FAIL'
  const delayMs = settings['redeliveryDelay']
  if (typeof delayMs === 'number' && delayMs > 0)
    return `redelivery-delay ${delayMs}: when a consumer dies, later messages of a key pass the earlier ones. Set it to 0`
  if (settings['defaultGroupRebalance'] === true && settings['defaultGroupRebalancePauseDispatch'] !== true)
    return 'default-group-rebalance without default-group-rebalance-pause-dispatch: a consumer that joins gets keys whose messages still run elsewhere. Set both, or neither'
  return undefined
}

function noteOn(settings: Settings): string | undefined {
  const attempts = attemptsOf(settings)
  if (attempts !== -1)
    return `max-delivery-attempts ${attempts}: after that many deaths of consumers, what they had in memory goes to ${String(settings['deadLetterAddress'])}, also what was not at fault`
  if (settings['defaultGroupRebalance'] === true)
    return 'default-group-rebalance: from the next consumer that joins on, one message that is held stops the whole queue'
  return undefined
}

/** Artemis leaves out what has its default. */
function attemptsOf(settings: Settings): number {
  const attempts = settings['maxDeliveryAttempts']
  return typeof attempts === 'number' ? attempts : 10
}

/** One request for each address, answered on a temporary queue. */
function ask(
  { container }: AmqpConnection,
  session: AmqpSession,
  addresses: readonly string[],
): Promise<readonly Settings[]> {
  const answers = new Map<number, Settings>()
  const { promise, resolve, reject } = Promise.withResolvers<readonly Settings[]>()
  const receiver = session.open_receiver({ source: { dynamic: true }, credit_window: addresses.length })
  const sender = session.open_sender({ target: { address: management } })
  let isSent = false
  const send = (): void => {
    const replyTo = receiver.source?.address
    if (isSent || typeof replyTo !== 'string' || !sender.sendable()) return
    isSent = true
    for (const [at, address] of addresses.entries())
      sender.send(container.message.encode(request(replyTo, at, address)), undefined, 0)
  }
  const fails = (error: unknown): void => reject(new Error(reasonOf(error)))
  sender.on('sendable', send)
  receiver.on('receiver_open', send)
  receiver.on('message', ({ message }) => {
    const settings = settingsIn(message?.body)
    if (settings === undefined) return fails(message?.body)
    answers.set(Number(message?.correlation_id), settings)
    if (answers.size === addresses.length) resolve(addresses.map((_, at) => answers.get(at) ?? {}))
  })
  sender.on('rejected', ({ delivery }) => fails(outcomeError(delivery?.remote_state)))
  sender.on('sender_close', () => fails(sender.error))
  receiver.on('receiver_close', () => fails(receiver.error))
  session.on('session_close', () => fails(session.error))
  for (const event of ['sender_error', 'accepted', 'settled']) sender.on(event, () => {})
  receiver.on('receiver_error', () => {})
  session.on('session_error', () => {})
  session.open()
  return promise
}

function request(replyTo: string, at: number, address: string): object {
  return {
    reply_to: replyTo,
    correlation_id: String(at),
    application_properties: { _AMQ_ResourceName: 'broker', _AMQ_OperationName: 'getAddressSettingsAsJSON' },
    body: JSON.stringify([address]),
  }
}

/** A list with one text in it, which is JSON again; where it failed, the text is what went wrong. */
function settingsIn(body: unknown): Settings | undefined {
  try {
    const [json]: unknown[] = JSON.parse(String(body)) as unknown[]
    const settings: unknown = JSON.parse(String(json))
    return typeof settings === 'object' && settings !== null ? { ...settings } : undefined
  } catch {
    return undefined
  }
}
