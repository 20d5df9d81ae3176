import avsc from 'avsc'
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { compare, type Comparison, type Contender } from '../../bench/measure.ts'
import { confluent, type ConfluentReader } from '../../src/codecs/confluent/index.ts'
import { json } from '../../src/codecs/json.ts'
import { contract } from '../../src/contracts/index.ts'
import type { Delivery } from '../../src/core/delivery.ts'
import { encode } from '../../src/core/codec.ts'
import { headersFrom, type Bytes, type Headers } from '../../src/core/message.ts'
import { pipeline, type Pipeline } from '../../src/core/pipeline.ts'
import { outgoing, publisher, type Outgoing, type Publisher, type PublisherBuilder } from '../../src/core/publisher.ts'
import { decrypt, encrypt, fixedKeys, resultCipher } from '../../src/encryption/index.ts'
import { caused, flow } from '../../src/flow/index.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { remember } from '../../src/idempotency/remember/index.ts'

// What a message costs beside the same message without the feature, in one process and without a server. Both sides take turns.
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } })
const area = 'practices'

const Order = z.object({ id: z.string(), customer: z.string(), note: z.string() })
const OlderOrder = z.object({ id: z.string(), customer: z.string() })
const body = { id: 'o-1', customer: 'ada', note: 'two espressos' }
const bytesOf = (size: number): Buffer => {
  const bare = Buffer.from(JSON.stringify({ ...body, note: '' })).byteLength
  return Buffer.from(JSON.stringify({ ...body, note: 'x'.repeat(Math.max(0, size - bare)) }))
}
const none = headersFrom([])
const { signal } = new AbortController()

function delivery(bytes: Bytes, headers: Headers = none): Delivery<Bytes> {
  return {
    message: { id: 'm-1', type: 'order.placed', key: 'ada', headers, body: bytes, timeMs: 0 },
    bytes,
    pipeline: 'measured',
    origin: { system: 'measured', destination: 'orders', partition: '0', position: '0', group: null },
    attempt: 1,
    first: true,
    signal,
    raw: null,
  }
}

/** The processor's time in ms: other processes of a busy machine do not count. */
function onProcessor(one: () => unknown): Contender['run'] {
  return async (times) => {
    const before = process.cpuUsage()
    for (let n = 0; n < times; n++) await one()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
}

function handling(name: string, { step }: Pipeline, one: Delivery<Bytes>): Contender {
  return {
    name,
    run: onProcessor(() => step(one)),
  }
}

/** Publishes bodies that are encoded as JSON, so that there is something to stand beside. */
function publishing(name: string, to: PublisherBuilder<Bytes>, note: string): Contender {
  const { publish } = to.use(encode(json(Order)))
  const message = outgoing({ id: 'm-1', destination: 'orders', key: 'ada', body: { ...body, note } })
  return {
    name,
    run: onProcessor(() => publish([message])),
  }
}

function calling(name: string, one: () => unknown): Contender {
  return {
    name,
    run: onProcessor(one),
  }
}

const decoded = (): Pipeline =>
  pipeline('measured')
    .decode(json(Order))
    .handle(() => {})
const wire: Publisher = { publish: () => Promise.resolve() }
const compared = (name: string, ours: Contender, beside: Contender): Comparison => {
  return { area, name, ours, beside, target: { cost: 1 }, sliceMs: 60 }
}

function flowRows(): Comparison[] {
  const one = delivery(bytesOf(300))
  const flowing = pipeline('measured')
    .use(flow())
    .decode(json(Order))
    .handle(() => {})
  return [
    compared('flow()', handling('flow', flowing, one), handling('a bare decode', decoded(), one)),
    compared(
      'caused()',
      publishing('caused', publisher(wire).use(caused({ service: 'shop' })), 'x'.repeat(250)),
      publishing('the same without', publisher(wire), 'x'.repeat(250)),
    ),
  ]
}

function contractRows(): Comparison[] {
  const placed = contract('order.placed', {
    version: 2,
    schema: Order,
    owner: 'shop',
    why: 'A customer has ordered.',
    examples: [body],
    since: {
      1: {
        schema: OlderOrder,
        example: { id: 'o-1', customer: 'ada' },
        toNext: (order) => ({ ...order, note: '' }),
      },
    },
  })
  const read = pipeline('measured')
    .decode(placed)
    .handle(() => {})
  const present = delivery(bytesOf(300), headersFrom([['message-version', '2']]))
  const older = delivery(
    Buffer.from(JSON.stringify({ id: 'o-1', customer: 'ada' })),
    headersFrom([['message-version', '1']]),
  )
  const codec = json(Order)
  const plain = () => outgoing({ destination: 'order.placed', body: codec.encode(body) })
  return [
    compared('a contract, its version', handling('contract', read, present), handling('json()', decoded(), present)),
    compared('a contract, one step', handling('contract', read, older), handling('json()', decoded(), present)),
    compared(
      'message() of a contract',
      calling('message', () => placed.message(body)),
      calling('encode', plain),
    ),
  ]
}

function confluentRows(): Comparison[] {
  const fields = Object.keys(body).map((name) => ({ name, type: 'string' }))
  const type = avsc.Type.forSchema({ type: 'record', name: 'Order', fields } as never)
  const data = type.toBuffer(body)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(1, 1)
  const reader = (): ConfluentReader<unknown> => (bytes) => type.fromBuffer(Buffer.from(bytes)) as unknown
  const registry = { schemaOf: async () => ({ type: 'AVRO', schema: JSON.stringify(type.schema()) }) }
  const read = pipeline('measured')
    .decode(confluent({ registry, reader }))
    .handle(() => {})
  const bare = { name: 'avsc', decode: (bytes: Bytes) => type.fromBuffer(Buffer.from(bytes ?? [])) as unknown }
  return [
    compared(
      'confluent()',
      handling('confluent', read, delivery(Buffer.concat([head, data]))),
      handling(
        'avsc alone',
        pipeline('measured')
          .decode(bare)
          .handle(() => {}),
        delivery(data),
      ),
    ),
  ]
}

async function encryptionRows(): Promise<Comparison[]> {
  const keys = fixedKeys({ use: 'k', keys: { k: randomBytes(32) } })
  const rows: Comparison[] = []
  for (const size of [300, 1024, 16_384]) {
    const message = outgoing({
      id: 'm-1',
      destination: 'orders',
      key: 'ada',
      type: 'order.placed',
      body: bytesOf(size),
    })
    let sealed: Outgoing = message
    const kept: Publisher = { publish: async ([one]) => void (sealed = one ?? message) }
    await publisher(kept).use(encrypt({ keys })).publish([message])
    const opened = pipeline('measured')
      .use(decrypt({ keys }))
      .decode(json(Order))
      .handle(() => {})
    rows.push(
      compared(
        `decrypt(), ${size} B`,
        handling('decrypt', opened, delivery(sealed.body, sealed.headers)),
        handling('a bare decode', decoded(), delivery(message.body)),
      ),
      compared(
        `encrypt(), ${size} B`,
        publishing('encrypt', publisher(wire).use(encrypt({ keys })), 'x'.repeat(size - 50)),
        publishing('the same without', publisher(wire), 'x'.repeat(size - 50)),
      ),
    )
  }
  return rows
}

function rememberRows(): Comparison[] {
  const keys = fixedKeys({ use: 'k', keys: { k: randomBytes(32) } })
  let id = 0
  const calls = (name: string, call: (id: string) => Promise<unknown>): Contender =>
    calling(name, () => call(`m-${id++}`))
  const plain = pipeline<typeof body>('measured')
    .use(idempotency({ store: memoryIdempotencyStore({ maxKeys: 1000 }) }))
    .handle(async () => {})
  const remembered = (cipher?: ReturnType<typeof resultCipher>) => {
    const answers = remember<typeof body, typeof body>({
      store: memoryIdempotencyStore({ maxKeys: 1000 }),
      ...(cipher !== undefined && { cipher }),
    })
    const stack = pipeline<typeof body>('measured')
      .use(answers.stage)
      .handle(answers.handler(() => body))
    return (each: string) => answers.call(stack, { message: { id: each, body } })
  }
  const beside = calls('idempotency()', (each) => plain.dispatch({ message: { id: each, body } }))
  return [
    compared('remember()', calls('remember', remembered()), beside),
    compared('remember(), encrypted', calls('remember', remembered(resultCipher({ keys }))), beside),
  ]
}

const all = [...flowRows(), ...contractRows(), ...confluentRows(), ...(await encryptionRows()), ...rememberRows()]
console.log('| what | beside | time | quartiles | medians |\n| --- | --- | --- | --- | --- |')
for (const each of all) {
  const { name, beside, ratio, quartiles, detail } = await compare(each, Number(values.rounds))
  const [low, high] = quartiles.map((quartile) => quartile.toFixed(2))
  console.log(`| ${name} | ${beside} | ${ratio.toFixed(2)}× | ${low} – ${high} | ${detail} |`)
}
