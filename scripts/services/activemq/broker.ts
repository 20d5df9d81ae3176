/** What an address is for, by the first word of its name: what no test may need of another. */
const settings: readonly (readonly [match: string, lines: string])[] = [
  ['#', '<max-delivery-attempts>-1</max-delivery-attempts>'],
  ['capped.#', '<max-delivery-attempts>3</max-delivery-attempts>'],
  ['dead.#', '<max-delivery-attempts>3</max-delivery-attempts><dead-letter-address>DLA</dead-letter-address>'],
  ['delayed.#', '<redelivery-delay>700</redelivery-delay>'],
  ['exclusive.#', '<default-exclusive-queue>true</default-exclusive-queue>'],
  ['rebalanced.#', '<default-group-rebalance>true</default-group-rebalance>'],
  [
    'paused.#',
    '<default-group-rebalance>true</default-group-rebalance><default-group-rebalance-pause-dispatch>true</default-group-rebalance-pause-dispatch>',
  ],
  ...['BLOCK', 'FAIL', 'DROP'].map(
    (policy) =>
      [
        `full-${policy.toLowerCase()}.#`,
        `<max-size-bytes>100000</max-size-bytes><address-full-policy>${policy}</address-full-policy>`,
      ] as const,
  ),
  ['declared.#', '<auto-create-queues>false</auto-create-queues><auto-create-addresses>false</auto-create-addresses>'],
]

const KEPT = '<auto-delete-queues>false</auto-delete-queues><auto-delete-addresses>false</auto-delete-addresses>'

export interface BrokerPlace {
  readonly dir: string
  readonly port: number
  /** Of the acceptor, as in its URL. */
  readonly acceptor?: readonly string[]
}

/** The configuration of an Artemis broker on loopback, with addresses for every hazard that a setting brings. */
export function brokerXml({ dir, port, acceptor = [] }: BrokerPlace): string {
  const parameters = ['protocols=AMQP', 'amqpIdleTimeout=4000', 'amqpCredits=1000', 'amqpLowCredits=300', ...acceptor]
  const each = settings.map(([match, lines]) => `<address-setting match="${match}">${KEPT}${lines}</address-setting>`)
  return `<configuration xmlns="urn:activemq"><core xmlns="urn:activemq:core">
<name>holdfast</name>
<persistence-enabled>true</persistence-enabled>
<journal-type>NIO</journal-type>
<journal-file-size>4M</journal-file-size>
<journal-min-files>2</journal-min-files>
<journal-pool-files>4</journal-pool-files>
<journal-directory>${dir}/data/journal</journal-directory>
<bindings-directory>${dir}/data/bindings</bindings-directory>
<large-messages-directory>${dir}/data/large</large-messages-directory>
<paging-directory>${dir}/data/paging</paging-directory>
<security-enabled>false</security-enabled>
<id-cache-size>20000</id-cache-size>
<persist-id-cache>true</persist-id-cache>
<acceptors><acceptor name="amqp">tcp://127.0.0.1:${port}?${parameters.join(';')}</acceptor></acceptors>
<address-settings>
${each.join('\n')}
</address-settings>
<addresses><address name="DLA"><anycast><queue name="DLA"/></anycast></address></addresses>
</core></configuration>
`
}
