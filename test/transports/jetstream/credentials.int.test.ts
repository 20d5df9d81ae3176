import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { pipeline } from 'holdfast'
import { natsConsumer, numberedPartitions } from 'holdfast/nats'
import { privateNats, type PrivateServer } from '../../support/private-servers.ts'
import { describeWith } from '../../support/services.ts'

/** What the docs recommend, and so the settings under which wrong credentials must not be tried for ever. */
const recommended = { maxReconnectAttempts: -1, waitOnFirstConnect: true, noAsyncTraces: true, reconnectTimeWait: 50 }

const users = `
no_auth_user: admin
authorization {
  users: [
    { user: admin, password: admin }
    { user: stranger, password: secret, permissions: { publish: ["_INBOX.>"], subscribe: ["_INBOX.>"] } }
    { user: reader, password: secret, permissions: { publish: { deny: ["$KV.>"] } } }
  ]
}
`

describeWith(['nats'], 'NATS JetStream with users', () => {
  let dir: string
  let server: PrivateServer
  const open: NatsConnection[] = []
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'nats-users-'))
    await writeFile(join(dir, 'nats.conf'), users)
    server = await privateNats({ flags: ['-c', join(dir, 'nats.conf')] })
    const nc = await connect({ servers: server.url })
    await (await jetstreamManager(nc)).streams.add({ name: 'orders', subjects: ['orders.*'] })
    await new Kvm(jetstream(nc)).create('leases')
    await nc.close()
  })
  afterAll(async () => {
    await server.dispose()
    await rm(dir, { recursive: true })
  })
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close()
  })

  async function run(user: string, bucket = 'leases'): Promise<void> {
    const nc = await connect({ servers: server.url, user, pass: 'secret', ...recommended })
    open.push(nc)
    const js = jetstream(nc, { timeout: 1_000 })
    const jsm = await jetstreamManager(nc, { timeout: 1_000, checkAPI: false })
    const kv = await new Kvm(js).open(bucket)
    const consumer = natsConsumer({
      ...{ nc, js, jsm, kv, stream: 'orders', group: 'billing', partitions: numberedPartitions('orders', 1) },
      pipeline: pipeline('orders').handle(() => {}),
    })
    await consumer.run(new AbortController().signal)
  }

  it('a wrong password is an error of connect(), also where it waits for a server that is away', async () => {
    const wrong = { servers: server.url, user: 'reader', pass: 'wrong', ...recommended }
    await expect(connect(wrong)).rejects.toThrow(/Authorization Violation/)
  })

  it('names the stream that the user may not read, in one error at the start', async () => {
    await expect(run('stranger')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^nats: stream: 'orders' cannot be read: .*\$JS\.API\.STREAM\.INFO\.orders/,
      ) as string,
    })
  })

  it('names the bucket that the user may not write', async () => {
    await expect(run('reader')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^nats: kv: the leases cannot be read and written in it: .*\$KV\.leases/,
      ) as string,
    })
  })

  it('names a bucket that does not exist', async () => {
    await expect(run('reader', 'missing')).rejects.toMatchObject({
      code: 'unavailable',
      message: "nats: kv: the bucket does not exist; make it with new Kvm(js).create('holdfast')",
    })
  })
})
