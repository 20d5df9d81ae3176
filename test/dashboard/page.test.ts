import { describe, expect, it } from 'vitest'
import { HoldfastError } from '../../src/core/errors.ts'
import { operatorPage, type Operator, type OperatorPageOptions } from '../../src/dashboard/index.ts'
import { formTokenOf } from '../../src/dashboard/security.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { browserOf, emptyStore, entered, formsOf, token } from './support.ts'

const paths = [
  '',
  'letters',
  'redrives',
  'outbox',
  'keys',
  'message',
  'log',
  'redrives/new?all=1',
  'letters/drop?all=1',
]
const signedIn = (role: Operator['role'] = 'operator') => ({ auth: () => ({ name: 'ana', role }) })

function made(options: Partial<OperatorPageOptions>) {
  const page = operatorPage({ store: emptyStore(), ...options })
  return { page, ...browserOf(page, 'https://ops.example.com') }
}

describe('operatorPage()', () => {
  it.each([
    ['neither auth nor loopback', {}, 'give auth, or loopback'],
    ['both', { ...signedIn(), loopback: { token, name: 'ana' } }, 'give auth, or loopback'],
    ['a short token', { loopback: { token: 'short', name: 'ana' } }, 'loopback.token must be at least 32'],
    ['no name', { loopback: { token } }, 'name must be a text'],
    ['a base path that leads elsewhere', { ...signedIn(), basePath: '//evil.example' }, 'basePath must be'],
    ['a base path with a query', { ...signedIn(), basePath: '/ops?x' }, 'basePath must be'],
    ['an origin that is none', { ...signedIn(), origins: ['ops.example.com'] }, 'origins must be'],
    ['an origin with a path', { ...signedIn(), origins: ['https://ops.example.com/x'] }, 'origins must be'],
    ['no origin', { ...signedIn(), origins: [] }, 'origins must be'],
    ['a trace address that is a script', { ...signedIn(), traceUrl: 'javascript:{trace}' }, 'traceUrl must be'],
    ['an unknown zone', { ...signedIn(), timeZone: 'Mars/Base' }, 'timeZone must be'],
    ['an unknown option', { ...signedIn(), readonly: false }, "Did you mean 'readOnly'?"],
    ['no store', { ...signedIn(), store: undefined }, 'store must be'],
  ])('refuses %s', (_, options, said) => {
    expect(() => operatorPage({ store: emptyStore(), ...options } as unknown as OperatorPageOptions)).toThrow(said)
  })

  it('D-23 sends every page with headers that let nothing run, frame or keep it', async () => {
    const { get } = entered(emptyStore())
    for (const path of [...paths, 'nonsense', 'letters/1', 'redrives/1']) {
      const { headers, text } = await get(`/${path}`)
      expect(headers.get('content-security-policy'), path).toMatch(
        /^default-src 'none'; style-src 'self'; script-src 'self';/,
      )
      expect(headers.get('content-security-policy')).not.toMatch(/unsafe|\*|http/)
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('content-type')).toBe('text/html; charset=utf-8')
      expect(text).not.toMatch(/<script(?![^>]* src=")|\sstyle=|\son[a-z]+=/)
    }
  })

  it('has landmarks, a skip link, one heading of the first level, and a label for each field', async () => {
    const { get } = entered(emptyStore())
    for (const path of paths) {
      const { text } = await get(`/${path}`)
      expect(text, path).toContain('<html lang="en">')
      expect(text.match(/<h1\b/g), path).toHaveLength(1)
      expect(text.match(/<main\b/g)).toHaveLength(1)
      expect(text).toContain('href="#main"')
      for (const [tag] of text.matchAll(/<(?:input|select|textarea)\b[^>]*>/g)) {
        const id = /\sid="([^"]+)"/.exec(tag)?.[1]
        const named = /type="hidden"|aria-label="[^"]+"/.test(tag) || text.includes(`for="${id}"`)
        expect(named, `${path}: ${tag}`).toBe(true)
      }
      const ids = [...text.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id)
      expect(new Set(ids).size, path).toBe(ids.length)
    }
  })

  it('says so where there is nothing', async () => {
    const { get } = entered(emptyStore())
    expect((await get('/')).text).toContain('No dead letters')
    expect((await get('/letters?key=x')).text).toContain('No letter matches')
    expect((await get('/redrives')).text).toContain('No redrives')
    expect((await get('/outbox')).text).toContain('This schema has no outbox')
    expect((await get('/keys')).text).toContain('No stuck keys')
    expect((await get('/message?id=x')).text).toContain('Nothing is known of this message')
    expect((await get('/log')).text).toContain('No acts yet')
  })

  it('answers what is not there, and what is asked in the wrong way', async () => {
    const { get, send } = entered(emptyStore())
    expect((await get('/nonsense')).status).toBe(404)
    expect((await get('/letters/999999999999999999')).status).toBe(404)
    expect((await get('/letters/9999999999999999999')).status).toBe(404)
    expect((await get('/letters/..%2f..%2fetc')).status).toBe(404)
    expect((await get('/letters?pipelin=x')).text).toContain('did you mean &#39;pipeline&#39;?')
    expect((await get('/letters?since=yesterday')).status).toBe(400)
    expect((await get('/letters?reason=because')).status).toBe(400)
    expect((await get('/letters?state=gone')).status).toBe(400)
    expect((await get('/letters?ids=1;drop')).status).toBe(400)
    expect((await get('/redrives/new')).status).toBe(400)
    const wrong = await send('/letters', { method: 'DELETE' })
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET'])
    const head = await send('/', { method: 'HEAD' })
    expect([head.status, head.text]).toEqual([200, ''])
    expect((await get('http://localhost//evil.example')).status).toBe(404)
  })

  it('shows the parked keys and the circuits where somebody tells of them, and the rest where they fail', async () => {
    const kept = { lane: 'k6:topick<1>', held: false, claimKey: 'm1' }
    const parked = async () => [
      { scope: 'billing', key: 'k<1>', ...kept, messages: 3, sinceMs: 0, nextMs: null, attempts: 2, error: 'E: <b>' },
    ]
    const { get } = entered(emptyStore({ parked }), {
      circuits: () => [{ name: 'api', state: 'open', sinceMs: 0, detail: '<i>' }],
    })
    const keys = (await get('/keys')).text
    expect(keys).toContain('k&lt;1&gt;')
    expect(keys).toContain('waits for you')
    expect((await get('/')).text).toContain('Circuits not closed')
    const failing = entered(emptyStore(), { circuits: () => Promise.reject(new Error('redis is down')) })
    const seen = await failing.get('/')
    expect(seen.status).toBe(200)
    expect(seen.text).toContain('could not be asked')
  })

  it('shows times with date, seconds and zone', async () => {
    const clock = fakeClock({ wallMs: Date.UTC(2026, 6, 1, 12, 0, 5) })
    const { get } = entered(emptyStore(), { timeZone: 'Europe/Berlin', clock })
    expect((await get('/')).text).toContain('As of 2026-07-01 14:00:05 CEST')
  })
})

describe('who may see and act', () => {
  it('sends 401 to those who are nobody, a response of the user as it is, and nothing of the page', async () => {
    const nobody = made({ auth: () => null })
    for (const path of paths) {
      const { status, text, headers } = await nobody.get(`/${path}`)
      expect(status).toBe(401)
      expect(headers.get('www-authenticate')).toContain('Basic')
      expect(text).not.toContain('Dead letters')
    }
    const login = await operatorPage({
      store: emptyStore(),
      auth: () => Response.redirect('https://login.example', 302),
    })(new Request('https://ops.example.com/'))
    expect([login.status, login.headers.get('location')]).toEqual([302, 'https://login.example/'])
  })

  it('lets nobody in where auth fails or answers something else', async () => {
    const failures: string[] = []
    const onError = ({ reference, error }: { reference: string; error: unknown }) =>
      failures.push(`${reference} ${String(error)}`)
    for (const auth of [
      () => Promise.reject(new Error('secret of the directory')),
      () => ({ name: 'ana' }),
      () => ({ name: '', role: 'operator' }),
      () => ({ name: 'ana', role: 'admin' }),
      () => true,
    ]) {
      const { get } = made({ auth: auth as unknown as () => null, onError })
      const { status, text } = await get('/')
      expect(status).toBe(500)
      expect(text).not.toContain('secret')
      expect(text).not.toContain('Operator log')
    }
    expect(failures).toHaveLength(5)
    expect(failures[0]).toContain('secret of the directory')
  })

  it('D-23 enters from the printed address only, keeps the token out of the address, and answers to localhost only', async () => {
    const page = operatorPage({ store: emptyStore(), loopback: { token, name: 'ana' } })
    const stranger = browserOf(page)
    expect((await stranger.get('/')).status).toBe(401)
    expect((await stranger.get(`/?token=${'b'.repeat(40)}`)).status).toBe(401)
    const first = await page(new Request(`http://localhost:7433/keys?token=${token}&scope=s`))
    expect([first.status, first.headers.get('location')]).toEqual([303, '/keys?scope=s'])
    expect(first.headers.getSetCookie()[0]).toMatch(/; Path=\/; HttpOnly; SameSite=Strict$/)
    const { get } = entered(emptyStore())
    for (const host of ['localhost', '127.0.0.1:7433', '[::1]:80', 'LOCALHOST:1'])
      expect((await get('/', { host })).status, host).toBe(200)
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'localhost:80@evil',
      '10.0.0.1',
    ])
      expect((await get('/', { host })).status, host).toBe(421)
  })

  it('answers only to its origins where they are given', async () => {
    const { get } = made({ ...signedIn(), origins: ['https://ops.example.com'] })
    expect((await get('/')).status).toBe(200)
    expect((await get('/', { host: 'evil.example' })).status).toBe(421)
    expect((await get('/')).headers.getSetCookie()).toEqual([])
  })

  it('shows a viewer no form that acts, and refuses what one sends', async () => {
    for (const options of [signedIn('viewer'), { ...signedIn('viewer'), readOnly: false }, signedIn('operator')]) {
      const { get, post } = made(options)
      for (const path of paths) {
        const { status, text } = await get(`/${path}`)
        expect(status).toBe(200)
        expect(formsOf(text).filter(({ method }) => method === 'post')).toEqual([])
      }
      expect((await post('/letters/drop', 'letter=1')).status).toBe(403)
    }
    expect((await made(signedIn('operator')).get('/')).text).toContain('operator, read only')
  })
})

describe('a form', () => {
  async function ready(options: Partial<OperatorPageOptions> = {}) {
    const dropped: unknown[] = []
    const store = emptyStore()
    const letters = {
      ...store.letters,
      drop: async (filter: unknown) => (dropped.push(filter), ['1']),
      preview: async () => ({ ...(await store.letters.preview({})), matched: 1, free: 1 }),
    }
    const browser = made({ store: { ...store, letters }, ...signedIn(), readOnly: false, ...options })
    const { text } = await browser.get('/letters/drop?ids=1')
    const fields = formsOf(text).find(({ action }) => action === '/letters/drop')?.fields ?? []
    const body = new URLSearchParams(fields as [string, string][]).toString()
    return { ...browser, body, dropped }
  }

  it('acts when it comes from a page of ours', async () => {
    const { post, body, dropped } = await ready()
    expect((await post('/letters/drop', body)).status).toBe(200)
    expect(dropped).toEqual([{ ids: ['1'] }])
  })

  it.each<[string, Record<string, string | null>]>([
    ['another site', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }],
    ['a sibling site', { 'sec-fetch-site': 'same-site', origin: 'https://wiki.example.com' }],
    ['the address bar or a bookmark', { 'sec-fetch-site': 'none' }],
    ['another site, of an old browser', { 'sec-fetch-site': null, origin: 'https://evil.example' }],
    ['a sandboxed frame', { 'sec-fetch-site': null, origin: 'null' }],
    ['a frame that lies about its origin', { origin: 'null' }],
    ['what says nothing of itself', { 'sec-fetch-site': null }],
  ])('of %s is refused, though it has the token', async (_, change) => {
    const { send, body, dropped } = await ready()
    const headers: Record<string, string | null> = {
      'content-type': 'application/x-www-form-urlencoded',
      'sec-fetch-site': 'same-origin',
      ...change,
    }
    const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== null)) as Record<
      string,
      string
    >
    const got = await send('/letters/drop', { method: 'POST', body, headers: given })
    expect(got.status).toBe(403)
    expect(got.text).toContain('Nothing was done')
    expect(dropped).toEqual([])
  })

  it('of an old browser on the same host acts', async () => {
    const { send, body, dropped } = await ready()
    const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: 'https://ops.example.com' }
    expect((await send('/letters/drop', { method: 'POST', body, headers })).status).toBe(200)
    expect(dropped).toHaveLength(1)
  })

  it('without its token, with that of another person or of another browser, is refused', async () => {
    const { post, body, dropped, cookies } = await ready()
    expect((await post('/letters/drop', body.replace(/form-token=[^&]+/, ''))).status).toBe(403)
    expect((await post('/letters/drop', body.replace(/form-token=[^&]+/, 'form-token=x'))).status).toBe(403)
    const other = await ready()
    expect((await post('/letters/drop', other.body)).status).toBe(403)
    const before = cookies.get('holdfast-form') ?? ''
    const bob = made({ auth: () => ({ name: 'bob', role: 'operator' }), readOnly: false })
    bob.cookies.set('holdfast-form', before)
    expect((await bob.post('/letters/drop', body)).status).toBe(403)
    cookies.clear()
    expect((await post('/letters/drop', body)).text).toContain('too old')
    expect(dropped).toEqual([])
  })

  it('of another type or size is refused, and one that is broken', async () => {
    const { post, body, dropped } = await ready()
    expect((await post('/letters/drop', body, { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await post('/letters/drop', '{}', { 'content-type': 'application/json' })).status).toBe(415)
    expect((await post('/letters/drop', `${body}&x=${'x'.repeat(1024 * 1024)}`)).status).toBe(413)
    expect((await post('/letters/drop', 'x', { 'content-type': 'multipart/form-data; boundary=b' })).status).toBe(400)
    expect(dropped).toEqual([])
  })
})

describe('when the database is not as it should be', () => {
  const step = { version: 9, name: 'later', atMs: 0 }
  it.each([
    [
      'older',
      { applied: [step], missing: [{ version: 3, name: 'dead letters', needed: true }], newer: [] },
      'The schema is older',
    ],
    ['newer', { applied: [step], missing: [], newer: [step] }, 'The schema is newer'],
    ['missing', { applied: [], missing: [{ ...step, needed: true }], newer: [] }, 'There are no tables yet'],
  ])('a schema that is %s is said, and nothing is read or done', async (_, state, said) => {
    const touched: string[] = []
    const letters = new Proxy(emptyStore().letters, { get: (_target, name) => () => (touched.push(String(name)), []) })
    const store = emptyStore({ letters, schema: async () => state, keys: async () => (touched.push('keys'), []) })
    const { get, post } = entered(store)
    for (const path of paths) {
      const { status, text } = await get(`/${path}`)
      expect([status, text.includes(said)], path).toEqual([503, true])
    }
    const fields = new URLSearchParams({ 'form-token': formTokenOf(token, 'ana'), letter: '1' }).toString()
    for (const path of ['letters/drop', 'redrives', 'redrives/1/cancel', 'keys/forget', 'outbox/skip'])
      expect((await post(`/${path}`, fields)).text, path).toContain(said)
    expect(touched).toEqual([])
  })

  it('an act asks for the schema anew, also right after a page', async () => {
    let newer = false
    const unblocked: string[] = []
    const fine = await emptyStore().schema()
    const store = emptyStore({
      schema: async () => ({ ...fine, newer: newer ? [step] : [] }),
      unblock: async (_, key) => (unblocked.push(key), 'ok'),
    })
    const { get, post } = entered(store)
    const claim = Buffer.from('["s","k"]').toString('base64url')
    const fields = new URLSearchParams({ 'form-token': formTokenOf(token, 'ana'), claim }).toString()
    expect((await post('/keys/unblock', fields)).status).toBe(200)
    newer = true
    expect((await get('/keys')).status).toBe(200)
    expect((await post('/keys/unblock', fields)).text).toContain('The schema is newer')
    expect(unblocked).toEqual(['k'])
  })

  it.each([
    [
      'refuses connections',
      Object.assign(new Error('connect ECONNREFUSED 10.1.2.3:5432'), { code: 'ECONNREFUSED' }),
      503,
      'does not answer',
    ],
    ['ends', Object.assign(new Error('terminating connection'), { code: '57P01' }), 503, 'does not answer'],
    ['has no connection left', new Error('timeout exceeded when trying to connect'), 503, 'does not answer'],
    ['takes too long', Object.assign(new Error('canceling statement'), { code: '57014' }), 504, 'took too long'],
    ['lacks rights', new HoldfastError('bad-schema', 'x'), 503, 'not what they should be'],
    ['says something else', new Error('secret row (4111)'), 500, 'Something failed here'],
  ])(
    'a database that %s is told on the page, and to the process, but not what it said',
    async (_, error, status, said) => {
      const failures: { reference: string; error: unknown }[] = []
      const store = emptyStore({ keys: () => Promise.reject(error) })
      const { get } = entered(store, { onError: (failure) => void failures.push(failure) })
      const got = await get('/keys')
      expect(got.status).toBe(status)
      expect(got.text).toContain(said)
      expect(got.text).not.toMatch(/10\.1\.2\.3|4111/)
      expect(failures).toMatchObject([{ error }])
      expect(got.text).toContain(failures[0]?.reference)
      // The way to the other pages, and to ask again, stays.
      expect(got.text).toContain('Refresh')
      expect(got.text).toContain('Operator log')
    },
  )

  it('a database that never answers is given up', async () => {
    const clock = fakeClock()
    const { page } = entered(emptyStore({ keys: () => new Promise(() => {}) }), {
      clock,
      answerMs: 5000,
      onError: () => {},
    })
    const asked = page(
      new Request('http://localhost/keys', { headers: { host: 'localhost', cookie: `holdfast-aaaaaa=${token}` } }),
    )
    await new Promise((resolve) => setImmediate(resolve))
    await clock.advance(5000)
    expect((await asked).status).toBe(503)
  })
})
