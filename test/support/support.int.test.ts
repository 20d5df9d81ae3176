import { Redis } from 'ioredis'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { expect, it } from 'vitest'
import { spawnChild } from './child.ts'
import { faultProxy, through } from './fault-proxy.ts'
import { privateKafka, privatePostgres, privateRedis } from './private-servers.ts'
import { describeWith, kafkaBrokers, postgresUrl, redisUrl, uniqueName } from './services.ts'
import { createTestPool } from './test-pool.ts'

describeWith(['postgres', 'redis', 'kafka'], 'the shared servers', () => {
  it('gives each test a schema of its own', async () => {
    const [one, other] = await Promise.all([createTestPool(), createTestPool()])
    await one.pool.query('create table things (id int)')
    await expect(other.pool.query('select * from things')).rejects.toThrow('does not exist')
    await Promise.all([one.dispose(), other.dispose()])
  })

  it('has PostgreSQL ready for logical decoding and prepared transactions', async () => {
    const { pool, dispose } = await createTestPool()
    const { rows } = await pool.query(
      "select current_setting('wal_level') as level, current_setting('max_prepared_transactions') as prepared",
    )
    expect(rows).toEqual([{ level: 'logical', prepared: '20' }])
    await dispose()
  })

  it('writes and reads through Kafka', async () => {
    const topic = uniqueName('support')
    const kafka = new kafkajs.Kafka({ brokers: kafkaBrokers(), logLevel: kafkajs.logLevel.ERROR })
    const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
    const consumer = kafka.consumer({ groupId: topic })
    await producer.connect()
    await producer.send({ topic, messages: [{ key: 'k', value: 'v' }] })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    const read = await new Promise<string | undefined>((resolve, reject) => {
      const eachMessage = ({ message }: kafkajs.EachMessagePayload) =>
        Promise.resolve(resolve(message.value?.toString()))
      consumer.run({ eachMessage }).catch(reject)
    })
    expect(read).toBe('v')
    await Promise.all([producer.disconnect(), consumer.disconnect()])
  })
})

describeWith(['redis', 'postgres'], 'the fault proxy', () => {
  it('cuts, refuses and restores connections', async () => {
    const proxy = await faultProxy(postgresUrl())
    const url = through(proxy, postgresUrl())
    const query = async () => {
      const client = new pg.Client({ connectionString: url })
      client.on('error', () => {})
      await client.connect()
      try {
        return (await client.query('select pg_sleep(0.05)')).rowCount
      } finally {
        await client.end().catch(() => {})
      }
    }
    expect(await query()).toBe(1)
    const caught = query().catch((error: unknown) => error)
    while (proxy.connections() < 1) await new Promise((resolve) => setTimeout(resolve, 1))
    proxy.cut()
    expect(await caught).toBeInstanceOf(Error)
    proxy.refuse()
    await expect(query()).rejects.toThrow()
    proxy.restore()
    expect(await query()).toBe(1)
    await proxy.dispose()
  })

  it('loses a reply whose command took effect', async () => {
    const key = uniqueName('support')
    const direct = new Redis(redisUrl())
    const proxy = await faultProxy(redisUrl())
    const client = new Redis(through(proxy, redisUrl()), { retryStrategy: () => null })
    client.on('error', () => {})
    await client.ping()
    proxy.dropReplies()
    const answer = client.incr(key).catch((error: unknown) => error)
    while ((await direct.get(key)) !== '1') await new Promise((resolve) => setTimeout(resolve, 5))
    proxy.cut()
    expect(await answer).toBeInstanceOf(Error)
    await direct.del(key)
    client.disconnect()
    direct.disconnect()
    await proxy.dispose()
  })
})

describeWith([], 'a private server', () => {
  it('keeps the data of PostgreSQL over a kill and a restart', async () => {
    const server = await privatePostgres()
    const query = async (sql: string) => {
      const client = new pg.Client({ connectionString: server.url })
      await client.connect()
      return client.query(sql).finally(() => client.end())
    }
    await query('create table kept (id int)')
    await server.kill('SIGKILL')
    await expect(query('select 1')).rejects.toThrow('ECONNREFUSED')
    await server.start()
    expect((await query('select * from kept')).rows).toEqual([])
    await server.dispose()
  })

  it('keeps the data of Redis over a stop and a start', async () => {
    const server = await privateRedis()
    const ask = async (command: (client: Redis) => Promise<unknown>) => {
      const client = new Redis(server.url)
      return command(client).finally(() => client.disconnect())
    }
    await ask((client) => client.set('kept', 'yes'))
    await server.stop()
    await server.start()
    expect(await ask((client) => client.get('kept'))).toBe('yes')
    await server.dispose()
  })

  it('lets clients into Kafka by SCRAM, with TLS and without, and keeps strangers out', async () => {
    const { readFile } = await import('node:fs/promises')
    const { SASL_USER } = await import('../../scripts/services/kafka-properties.ts')
    const server = await privateKafka({ secure: true })
    const { sasl = '', tls = '', ca = '' } = server.also
    const topics = async (brokers: string, password: string, ssl: object | false) => {
      const user = { ...SASL_USER, password, mechanism: 'scram-sha-256' } as const
      const options = { logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 0 }, sasl: user }
      const admin = new kafkajs.Kafka({ brokers: [brokers], ssl, ...options }).admin()
      await admin.connect()
      return admin.listTopics().finally(() => admin.disconnect())
    }
    const trusted = { ca: await readFile(ca, 'utf8') }
    expect(await topics(sasl, SASL_USER.password, false)).toContain('__consumer_offsets')
    expect(await topics(tls, SASL_USER.password, trusted)).toContain('__consumer_offsets')
    await expect(topics(tls, 'wrong', trusted)).rejects.toThrow('Authentication failed')
    await expect(topics(tls, SASL_USER.password, {})).rejects.toThrow('self-signed')
    await server.dispose()
  })
})

describeWith([], 'a child process', () => {
  it('reports its lines and can be killed', async () => {
    const child = spawnChild('test/support/fixtures/echo.ts', { args: ['hello'] })
    expect(await child.line('ready')).toBe('ready hello')
    child.send('ping')
    await child.line('got ping')
    child.kill()
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' })
    await expect(child.line('never')).rejects.toThrow('signal SIGKILL')
  })
})
