import { describe, expect, it } from 'vitest'
import type { Decoder } from '../../src/core/codec.ts'
import { staged, type Delivery, type Middleware, type Outcome, type Place, type Step } from '../../src/core/delivery.ts'
import { failureFrom, HoldfastError, PermanentError } from '../../src/core/errors.ts'
import { headersFrom, type Bytes } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'

const incoming = <Body>(body: Body, id = 'm1') => ({ message: { id, body } })

/** A plain middleware that says when it is entered and left. */
const traced =
  (name: string, log: string[]): Middleware =>
  (next) =>
  async (delivery) => {
    log.push(`> ${name}`)
    try {
      return await next(delivery)
    } finally {
      log.push(`< ${name}`)
    }
  }

const text: Decoder<string> = { name: 'text', decode: (bytes) => bytes?.toString() ?? '' }
const never: Decoder<string> = {
  name: 'never',
  decode: () => {
    throw new PermanentError('bad bytes')
  },
}

describe('pipeline()', () => {
  it('puts what was added first outermost', async () => {
    const log: string[] = []
    const orders = pipeline<null>('orders')
      .use(traced('a', log))
      .use(traced('b', log))
      .handle(() => void log.push('handler'))
    expect(await orders.dispatch(incoming(null))).toBe('handled')
    expect(log).toEqual(['> a', '> b', 'handler', '< b', '< a'])
  })

  it('acks whatever the handler returns, and nacks whatever it throws', async () => {
    for (const value of [undefined, null, 0, 'dead-lettered', { a: 1 }])
      expect(
        await pipeline<null>('x')
          .handle(() => Promise.resolve(value))
          .dispatch(incoming(null)),
      ).toBe('handled')
    const error = new Error('no')
    for (const handler of [
      () => Promise.reject(error),
      () => {
        throw error
      },
    ])
      await expect(pipeline<null>('x').handle(handler).dispatch(incoming(null))).rejects.toBe(error)
  })

  it('hands on the outcome of a middleware that answers itself', async () => {
    const skipping: Middleware = () => () => Promise.resolve('discarded')
    const orders = pipeline<null>('x')
      .use(skipping)
      .handle(() => expect.fail('handled'))
    expect(await orders.dispatch(incoming(null))).toBe('discarded')
  })

  it('takes a synchronous throw of a plain function for a nack like any other', async () => {
    const error = new Error('thrown before any promise')
    const seen: unknown[] = []
    const watching: Middleware = (next) => (delivery) =>
      next(delivery).catch((thrown: unknown) => {
        seen.push(thrown)
        throw thrown
      })
    const orders = pipeline<null>('x')
      .use(watching)
      .use(() => () => {
        throw error
      })
      .handle(() => {})
    await expect(orders.dispatch(incoming(null))).rejects.toBe(error)
    expect(seen).toEqual([error])
  })

  it('lets a middleware widen the delivery for everything inside it', async () => {
    const user: Middleware<{ readonly user: string }> = (next) => (delivery) => next({ ...delivery, user: 'ada' })
    let seen: string | undefined
    await pipeline<null>('x')
      .use(user)
      .handle((delivery) => void (seen = delivery.user))
      .dispatch(incoming(null))
    expect(seen).toBe('ada')
  })

  it('is composed once, not for every message', async () => {
    let composed = 0
    const counting: Middleware = (next) => {
      composed++
      return next
    }
    const orders = pipeline<null>('x')
      .use(counting)
      .handle(() => {})
    for (let each = 0; each < 5; each++) await orders.dispatch(incoming(null))
    expect(composed).toBe(1)
  })

  it('a builder can be branched: each branch is a pipeline of its own', async () => {
    const log: string[] = []
    const base = pipeline<null>('x').use(traced('base', log))
    const left = base.use(traced('left', log)).handle(() => {})
    const right = base.handle(() => {})
    await right.dispatch(incoming(null))
    expect(log).toEqual(['> base', '< base'])
    expect([left.stages.length, right.stages.length]).toEqual([2, 1])
  })

  it('tells each stage where it stands', () => {
    const places: (Place | undefined)[] = []
    const placed = (name: string): Middleware =>
      staged(
        (next, place) => {
          places.push(place)
          return next
        },
        { name },
      )
    pipeline('orders')
      .use(placed('a'))
      .use(placed('b'))
      .use(placed('c'))
      .handle(() => {})
    const names = (stages: Place['inside'] = []) => stages.map(({ name }) => name).join(' ')
    expect(places.map((place) => [place?.pipeline, names(place?.outside), names(place?.inside)])).toEqual(
      expect.arrayContaining([
        ['orders', '', 'b c'],
        ['orders', 'a', 'c'],
        ['orders', 'a b', ''],
      ]),
    )
  })

  it('calls a plain function by its own name, or anonymous', () => {
    const named: Middleware = (next) => next
    const { stages } = pipeline('x')
      .use(named)
      .use((next) => next)
      .handle(() => {})
    expect(stages.map(({ name }) => name)).toEqual(['named', 'anonymous'])
  })

  it('refuses to be without a name', () => {
    expect(() => pipeline('')).toThrow("pipeline: name must be a text that is not empty, got ''")
  })
})

describe('dispatch()', () => {
  it('fills in what a caller without a transport does not know', async () => {
    let seen: Delivery<Bytes> | undefined
    const body = Buffer.from('a')
    await pipeline('orders')
      .handle((delivery) => void (seen = delivery))
      .dispatch({ message: { id: 'm1', body } })
    expect(seen).toMatchObject({
      message: { id: 'm1', type: 'orders', key: null, body },
      bytes: body,
      pipeline: 'orders',
      origin: { system: 'direct', destination: 'orders', partition: null, position: null, group: null },
      attempt: 1,
      raw: null,
    })
    expect(seen?.signal.aborted).toBe(false)
    expect(Object.getPrototypeOf(seen?.message.headers)).toBe(null)
  })

  it('takes what the caller does know', async () => {
    let seen: Delivery<string> | undefined
    const { signal } = new AbortController()
    const raw = { job: 1 }
    const headers = headersFrom([['a', 'b']])
    await pipeline<string>('orders')
      .handle((delivery) => void (seen = delivery))
      .dispatch({
        message: { id: 'm1', body: 'text', key: 'k', type: 't', headers, timeMs: 7 },
        origin: { system: 'bullmq', group: 'g' },
        attempt: 3,
        signal,
        raw,
      })
    expect(seen).toMatchObject({
      message: { id: 'm1', type: 't', key: 'k', headers, body: 'text', timeMs: 7 },
      bytes: null,
      origin: { system: 'bullmq', destination: 'orders', group: 'g' },
      attempt: 3,
    })
    expect([seen?.signal, seen?.raw]).toEqual([signal, raw])
  })
})

describe('decode()', () => {
  it('types the body from there inwards, and keeps the bytes', async () => {
    const bodies: unknown[] = []
    const looking: Middleware = (next) => (delivery) => {
      bodies.push(delivery.message.body)
      return next(delivery)
    }
    const body = Buffer.from('größe')
    await pipeline('x')
      .use(looking)
      .decode(text)
      .use(looking)
      .handle((delivery) => {
        expect(delivery.bytes).toBe(body)
        expect(delivery.message.body.length).toBe(5)
      })
      .dispatch(incoming(body))
    expect(bodies).toEqual([body, 'größe'])
  })

  it('a PermanentError of the codec says that the bytes are bad, and no attempt was made', async () => {
    const orders = pipeline('x')
      .decode(never)
      .handle(() => expect.fail('handled'))
    const error: unknown = await orders.dispatch(incoming(Buffer.from('a'))).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'permanent' })
    expect(failureFrom(error, 'm1', 1)).toMatchObject({ reason: 'undecodable', attempts: 0 })
  })

  const outages: readonly (readonly [string, unknown])[] = [
    ['a refused connection', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
    [
      'fetch without a network',
      new TypeError('fetch failed', { cause: Object.assign(new Error('x'), { code: 'ENOTFOUND' }) }),
    ],
    ['HTTP 503', Object.assign(new Error('unavailable'), { status: 503 })],
    ['HTTP 401', Object.assign(new Error('unauthorised'), { statusCode: 401 })],
    ['a time-out', AbortSignal.timeout(0).reason ?? new DOMException('late', 'TimeoutError')],
    ['an error of ours', new HoldfastError('unavailable', 'no registry')],
  ]
  it.each(outages)('an error that tells of an outage holds the pipeline: %s', async (_, error) => {
    const orders = pipeline('x')
      .decode({ name: 'registry', decode: () => Promise.reject(error as Error) })
      .handle(() => expect.fail('handled'))
    for (let at = 0; at < 20; at++)
      await expect(orders.dispatch(incoming(null))).rejects.toMatchObject({
        code: 'retry-later',
        holds: 'pipeline',
        cause: error,
      })
  })

  it('any other error holds its own message alone, and after maxAttempts the message is undecodable', async () => {
    const bad = new RangeError('index out of range')
    const orders = pipeline('x')
      .use(
        staged((next: Step<Delivery>): Step<Delivery> => next, {
          name: 'retry',
          facts: { maxAttempts: 3 },
        }) as Middleware,
      )
      .decode({
        name: 'avro',
        decode(bytes) {
          if (bytes?.[0] === 255) throw bad
          return bytes
        },
      })
      .handle(() => {})
    const poison = (): Promise<unknown> =>
      orders.dispatch(incoming(Buffer.from([255]), 'poison')).catch((e: unknown) => e)
    const waits = { code: 'retry-later', holds: 'message', cause: bad }
    expect(await poison()).toMatchObject({ ...waits, afterMs: 1000 })
    expect(await orders.dispatch(incoming(Buffer.from([1]), 'good'))).toBe('handled')
    expect(await poison()).toMatchObject({ ...waits, afterMs: 2000 })
    const last = await poison()
    expect(last).toBe(bad)
    expect(failureFrom(last, 'poison', 1)).toMatchObject({ reason: 'undecodable', attempts: 0 })
  })

  it('counts the failures of a message from the start once it was decoded', async () => {
    let fails = true
    const orders = pipeline('x')
      .decode({
        name: 'flaky',
        decode() {
          if (fails) throw new Error('x')
          return 1
        },
      })
      .handle(() => {})
    for (let round = 0; round < 3; round++) {
      fails = true
      for (let at = 0; at < 4; at++)
        await expect(orders.dispatch(incoming(null))).rejects.toMatchObject({ code: 'retry-later', holds: 'message' })
      fails = false
      expect(await orders.dispatch(incoming(null))).toBe('handled')
    }
  })

  it('hands the decoder the signal, and waits for no decoder that is deaf to it', async () => {
    const stop = new AbortController()
    let given: AbortSignal | undefined
    const orders = pipeline('x')
      .decode({
        name: 'slow',
        decode(_, __, signal) {
          given = signal
          return new Promise<never>(() => {})
        },
      })
      .handle(() => expect.fail('handled'))
    const outcome = orders.dispatch({ ...incoming(null), signal: stop.signal })
    stop.abort(new Error('shutting down'))
    await expect(outcome).rejects.toMatchObject({ code: 'retry-later', afterMs: 0, holds: 'message' })
    expect(given).toBe(stop.signal)
  })

  it.each([
    ['text', 'größe'],
    ['an ArrayBuffer', new Uint8Array(Buffer.from('größe')).buffer],
    ['a view', new DataView(new Uint8Array(Buffer.from('größe')).buffer)],
  ])('takes %s of a caller without types for the bytes that it stands for', async (_, body) => {
    const seen: string[] = []
    const orders = pipeline('x')
      .decode({ name: 'text', decode: (bytes) => Buffer.from(bytes ?? []).toString() })
      .handle(({ message }) => void seen.push(message.body))
    expect(await orders.dispatch(incoming(body as unknown as Bytes))).toBe('handled')
    expect(seen).toEqual(['größe'])
    await expect(orders.dispatch(incoming({ a: 1 } as unknown as Bytes))).rejects.toMatchObject({ code: 'permanent' })
  })
})

describe('dispatch()', () => {
  const orders = pipeline('orders').handle(() => {})
  it.each([
    [undefined, 'orders.dispatch: incoming must be an object, got undefined'],
    [{ id: 'a', body: null }, 'orders.dispatch: message must be an object, got undefined'],
    [{ message: { body: null } }, 'orders.dispatch: message.id must be a text that is not empty, got undefined'],
    [{ message: { id: 5, body: null } }, 'orders.dispatch: message.id must be a text that is not empty, got 5'],
    [
      { message: { id: 'a', body: null, headers: null } },
      'orders.dispatch: message.headers must be an object, got null',
    ],
  ])('rejects %o, and throws nothing', async (given, problem) => {
    const answer = orders.dispatch(given as never)
    await expect(answer).rejects.toMatchObject({ code: 'bad-option', message: problem })
  })

  it('fills in what is undefined, and takes plain headers without their prototype', async () => {
    const seen: Delivery[] = []
    const watching = pipeline('x').handle((delivery) => void seen.push(delivery))
    await watching.dispatch({
      message: { id: 'a', body: null, key: undefined, type: undefined, headers: { a: '1' } } as never,
    })
    expect(seen[0]?.message).toMatchObject({ key: null, type: 'x' })
    expect(Object.getPrototypeOf(seen[0]?.message.headers)).toBe(null)
    expect(seen[0]?.message.headers['a']).toBe('1')
  })
})

describe('the order check', () => {
  const stage = (name: string, rules: object = {}): Middleware =>
    staged((next: Step<Delivery>): Step<Delivery> => next, { name, ...rules }) as Middleware
  const build = (...stages: readonly Middleware[]) =>
    stages
      .reduce((built, each) => built.use(each), pipeline('orders'))
      .handle((): Promise<Outcome> => Promise.resolve('handled'))

  it('refuses a stage inside one that it must not be inside of', () => {
    const inner = stage('b', { notInside: { a: 'of the reason' } })
    expect(() => build(stage('a'), stage('between'), inner)).toThrow('orders: b must not stand inside a: of the reason')
    expect(build(inner, stage('a')).stages).toHaveLength(2)
  })

  it('refuses a stage outside one that wants to be inside it, and does not mind where that is missing', () => {
    const inner = stage('b', { wantsOutside: { a: 'of the reason' } })
    expect(() => build(inner, stage('a'))).toThrow('orders: a must stand outside b: of the reason')
    expect(build(stage('a'), inner).stages).toHaveLength(2)
    expect(build(inner).stages).toHaveLength(1)
  })

  it('refuses a stage that lacks what it needs', () => {
    const needy = stage('b', { needs: { a: 'of the reason' } })
    expect(() => build(needy)).toThrow('orders: b needs a outside it: of the reason')
    expect(() => build(needy, stage('a'))).toThrow('orders: b needs a outside it')
    expect(build(stage('a'), needy).stages).toHaveLength(2)
  })

  it('refuses two that exclude each other, and a stage that may stand once only', () => {
    expect(() => build(stage('a'), stage('b', { excludes: { a: 'of the reason' } }))).toThrow(
      'orders: b and a: of the reason',
    )
    const once = stage('b', { excludes: { b: 'of the reason' } })
    expect(() => build(once, once)).toThrow('orders: there are two b stages: of the reason')
  })

  it('says so with the code bad-order, when the pipeline is built', () => {
    const built = pipeline('orders').use(stage('b', { needs: { a: 'r' } }))
    expect(() => built.handle(() => {})).toThrow(expect.objectContaining({ code: 'bad-order', name: 'HoldfastError' }))
  })
})
