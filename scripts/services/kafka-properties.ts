import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './commands.ts'
import type { KafkaPrograms } from './kafka-programs.ts'

/** The user of the listeners with SASL. */
export const SASL_USER = { username: 'holdfast', password: 'holdfast-secret' } as const

export const CREDENTIALS = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].map(
  (mechanism) => `${mechanism}=[name=${SASL_USER.username},password=${SASL_USER.password}]`,
)

export interface BrokerPlace {
  readonly dir: string
  readonly port: number
  /** Counted from 0. */
  readonly node: number
  readonly nodes: number
  readonly secure: boolean
}

/** The ports of one broker: first all the brokers' client ports in a row, then their controllers', then the secure ones. */
export function portsOf(first: number, node: number, nodes: number) {
  const at = (row: number) => first + row * nodes + node
  return { client: at(0), controller: at(1), sasl: at(2), tls: at(3) }
}

/** One broker that is a controller too, on loopback only. */
export function brokerProperties({ dir, port, node, nodes, secure }: BrokerPlace, more: readonly string[]): string[] {
  const { client, controller, sasl, tls } = portsOf(port, node, nodes)
  const all = Array.from({ length: nodes }, (_, other) => `127.0.0.1:${portsOf(port, other, nodes).controller}`)
  const advertised = [`PLAINTEXT://127.0.0.1:${client}`]
  if (secure) advertised.push(`SASL_PLAINTEXT://127.0.0.1:${sasl}`, `SASL_SSL://127.0.0.1:${tls}`)
  const copies = Math.min(3, nodes)
  const inSync = Math.min(2, nodes)
  return [
    'process.roles=broker,controller',
    `node.id=${node + 1}`,
    `controller.quorum.bootstrap.servers=${all.join(',')}`,
    `listeners=${[...advertised, `CONTROLLER://127.0.0.1:${controller}`].join(',')}`,
    `advertised.listeners=${advertised.join(',')}`,
    'controller.listener.names=CONTROLLER',
    'inter.broker.listener.name=PLAINTEXT',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL',
    `log.dirs=${join(dir, `data-${node + 1}`)}`,
    'num.partitions=1',
    `default.replication.factor=${copies}`,
    `min.insync.replicas=${inSync}`,
    `offsets.topic.replication.factor=${copies}`,
    'offsets.topic.num.partitions=4',
    `transaction.state.log.replication.factor=${copies}`,
    `transaction.state.log.min.isr=${inSync}`,
    'transaction.state.log.num.partitions=4',
    `share.coordinator.state.topic.replication.factor=${copies}`,
    `share.coordinator.state.topic.min.isr=${inSync}`,
    // Tests make many short-lived groups: joins must not wait, and sessions may be short.
    'group.initial.rebalance.delay.ms=0',
    'group.min.session.timeout.ms=1000',
    'group.consumer.min.session.timeout.ms=1000',
    'group.consumer.session.timeout.ms=4000',
    'group.consumer.min.heartbeat.interval.ms=100',
    'group.consumer.heartbeat.interval.ms=300',
    'log.cleaner.dedupe.buffer.size=16777216',
    'num.network.threads=2',
    'num.io.threads=4',
    ...more,
  ]
}

/** Settings of the listeners with SASL, and the self-signed certificate that they show; the client's copy is `ca.pem`. */
export async function securityOf({ keytool }: KafkaPrograms, dir: string): Promise<string[]> {
  const store = join(dir, 'broker.p12')
  const common = ['-alias', 'broker', '-storetype', 'PKCS12', '-keystore', store, '-storepass', SASL_USER.password]
  if (!existsSync(store)) {
    const subject = ['-dname', 'CN=localhost', '-ext', 'SAN=dns:localhost,ip:127.0.0.1', '-ext', 'BC=ca:true']
    await run(keytool, [
      '-genkeypair',
      '-keyalg',
      'RSA',
      '-keysize',
      '2048',
      '-validity',
      '3650',
      ...subject,
      ...common,
    ])
    await run(keytool, ['-exportcert', '-rfc', '-file', join(dir, 'ca.pem'), ...common])
  }
  const login = 'sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;'
  const listeners = ['sasl_plaintext', 'sasl_ssl']
  return [
    'sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512',
    ...listeners.flatMap((name) => [256, 512].map((bits) => `listener.name.${name}.scram-sha-${bits}.${login}`)),
    `ssl.keystore.location=${store}`,
    'ssl.keystore.type=PKCS12',
    `ssl.keystore.password=${SASL_USER.password}`,
    `ssl.key.password=${SASL_USER.password}`,
  ]
}
