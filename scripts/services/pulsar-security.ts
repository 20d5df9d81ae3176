import { createHmac } from 'node:crypto'

export interface PulsarSecurity {
  /** Files of PEM. The key is of RSA, in PKCS 8. */
  readonly certificate: string
  readonly key: string
  /** Signs the tokens. At least 32 bytes. */
  readonly secret: Buffer
}

const lifeMs = 24 * 3_600_000

/** A token for one role, as Pulsar reads it: a JWT, signed with the broker's secret. */
export function pulsarToken(secret: Buffer, role: string, expiresInMs = lifeMs): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const exp = Math.floor((Date.now() + expiresInMs) / 1000)
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: role, exp })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** Lines of `standalone.conf`: TLS on a port of its own, and tokens on all of them. The role `admin` may do everything. */
export function securityLines({ certificate, key, secret }: PulsarSecurity, tlsPort: number): readonly string[] {
  return [
    `brokerServicePortTls=${tlsPort}`,
    `tlsCertificateFilePath=${certificate}`,
    `tlsKeyFilePath=${key}`,
    'authenticationEnabled=true',
    'authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken',
    'authenticationRefreshCheckSeconds=1',
    `tokenSecretKey=data:;base64,${secret.toString('base64')}`,
    'authorizationEnabled=true',
    'superUserRoles=admin',
    'brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken',
    `brokerClientAuthenticationParameters=token:${pulsarToken(secret, 'admin')}`,
  ]
}
