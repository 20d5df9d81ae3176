import { activemq, artemis } from './activemq.ts'
import { jaeger } from './jaeger.ts'
import { kafka, kafka3 } from './kafka.ts'
import { nats, natsNewest } from './nats.ts'
import { postgres, postgres18 } from './postgres.ts'
import { pulsar } from './pulsar.ts'
import { rabbitmq, rabbitmq4 } from './rabbitmq.ts'
import { redis } from './redis.ts'
import type { Service } from './service.ts'

/** Every service that can be asked for by name. */
export const services: readonly Service[] = [
  postgres,
  redis,
  kafka,
  postgres18,
  rabbitmq,
  nats,
  artemis,
  kafka3,
  rabbitmq4,
  natsNewest,
  activemq,
  pulsar,
  jaeger,
]

/** What `npm test` needs. */
export const defaultNames: readonly string[] = [
  'postgres',
  'redis',
  'kafka',
  'postgres18',
  'rabbitmq',
  'nats',
  'artemis',
]

export function serviceNamed(name: string): Service {
  const found = services.find((service) => service.name === name)
  if (found === undefined)
    throw new Error(`no service ${name}; there are ${services.map((one) => one.name).join(', ')}`)
  return found
}
