import { inject } from 'vitest'
import { describeUnless } from './skipped.ts'

export { uniqueName } from './unique-name.ts'

/** A service that runs, and its further addresses by what they are for. */
export interface ServiceAddress {
  readonly url: string
  readonly also: Readonly<Record<string, string>>
}

declare module 'vitest' {
  interface ProvidedContext {
    services: Record<string, ServiceAddress> | undefined
  }
}

export const postgresUrl = (): string => serviceAddress('postgres').url
export const postgres18Url = (): string => serviceAddress('postgres18').url
export const redisUrl = (): string => serviceAddress('redis').url
export const kafkaBrokers = (): string[] => serviceAddress('kafka').url.split(',')
export const kafka3Brokers = (): string[] => serviceAddress('kafka3').url.split(',')
export const rabbitmqUrl = (): string => serviceAddress('rabbitmq').url
export const rabbitmq4Url = (): string => serviceAddress('rabbitmq4').url
export const natsUrl = (): string => serviceAddress('nats').url
export const natsNewestUrl = (): string => serviceAddress('nats_newest').url
export const artemisUrl = (): string => serviceAddress('artemis').url
export const activemqUrl = (): string => serviceAddress('activemq').url
export const pulsarUrl = (): string => serviceAddress('pulsar').url
export const jaegerUrl = (): string => serviceAddress('jaeger').url

export function serviceAddress(name: string): ServiceAddress {
  const found = provided()[name]
  if (found === undefined)
    throw new Error(`${name} is not available here; guard the suite with describeWith(['${name}'], …)`)
  return found
}

/** A suite that needs servers. Where one cannot be had, the suite is skipped and names it. */
export function describeWith(names: readonly string[], title: string, body: () => void): void {
  const missing = names.filter((name) => provided()[name] === undefined)
  describeUnless(missing.length === 0 ? undefined : `there is no ${missing.join(' and no ')}`, title, body)
}

/** Nothing is provided to a run that did not ask for servers. */
function provided(): Record<string, ServiceAddress> {
  return inject('services') ?? {}
}
