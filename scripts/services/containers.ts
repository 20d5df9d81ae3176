import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ContainerRuntimeClient } from 'testcontainers'

export interface ContainerSpec {
  readonly image: string
  /** Ports inside the container, each with the port on this machine. */
  readonly ports: readonly { readonly container: number; readonly host: number }[]
  readonly url: string
  readonly environment?: Readonly<Record<string, string>>
  readonly command?: readonly string[]
  readonly also?: Readonly<Record<string, string>>
}

let client: Promise<ContainerRuntimeClient | undefined> | undefined

/** The Docker engine of this machine, or nothing when none answers at once. */
export function engine(): Promise<ContainerRuntimeClient | undefined> {
  client ??= connect()
  return client
}

/** Starts a container that outlives us; it is known by its id afterwards. */
export async function startContainer(name: string, spec: ContainerSpec): Promise<string> {
  // The reaper would remove the container as soon as this command ends.
  process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'
  const { GenericContainer, Wait } = await import('testcontainers')
  const container = new GenericContainer(spec.image)
    .withExposedPorts(...spec.ports)
    .withEnvironment({ ...spec.environment })
    .withLabels({ 'holdfast.service': name })
    // Whether it is ready, the service itself is asked afterwards.
    .withWaitStrategy(Wait.forAll([]))
  if (spec.command !== undefined) container.withCommand([...spec.command])
  return (await container.start()).getId()
}

export async function isContainerRunning(id: string): Promise<boolean> {
  const runtime = await engine()
  if (runtime === undefined) return false
  try {
    return (await runtime.container.inspect(runtime.container.getById(id))).State.Running
  } catch {
    return false
  }
}

export async function removeContainer(id: string): Promise<void> {
  const runtime = await engine()
  if (runtime === undefined) return
  const container = runtime.container.getById(id)
  try {
    await runtime.container.stop(container, { timeout: 10_000 })
    await runtime.container.remove(container, { removeVolumes: true })
  } catch (error) {
    if (await isContainerRunning(id)) throw error
  }
}

async function connect(): Promise<ContainerRuntimeClient | undefined> {
  if (process.env['HOLDFAST_SERVICES'] === 'local' || !mayHaveEngine()) return undefined
  const { getContainerRuntimeClient } = await import('testcontainers')
  const nobody = new Promise<undefined>((resolve) => setTimeout(resolve, 4_000, undefined).unref())
  return Promise.race([getContainerRuntimeClient().catch(() => undefined), nobody])
}

/** Loading testcontainers takes a second: look first whether there is anything to talk to. */
function mayHaveEngine(): boolean {
  const { DOCKER_HOST, XDG_RUNTIME_DIR = '/run' } = process.env
  const places = [
    '/var/run/docker.sock',
    join(XDG_RUNTIME_DIR, 'docker.sock'),
    join(homedir(), '.docker/run/docker.sock'),
    join(homedir(), '.docker/desktop/docker.sock'),
    join(homedir(), '.testcontainers.properties'),
  ]
  return DOCKER_HOST !== undefined || process.platform === 'win32' || places.some((place) => existsSync(place))
}
