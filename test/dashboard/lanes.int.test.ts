import { afterEach, beforeEach, expect, it } from 'vitest'
import { PermanentError, RetryLater } from '../../src/core/errors.ts'
import { realWorld, type RealWorld } from '../ordering/parking/real.ts'
import { describeWith } from '../support/services.ts'
import { entered, formsOf } from './support.ts'

describeWith(['postgres'], 'parked keys on the page', () => {
  let world: RealWorld
  beforeEach(async () => {
    world = await realWorld({ whenDead: 'block-key', parkAfterMs: 500 })
  })
  afterEach(() => world.dispose())

  /** Message 1 is dead and blocks its key; 2 and 3 wait behind it. */
  async function blocked(key = 'A') {
    world.handler.now = ({ message }) => {
      if (message.id === '1') throw new PermanentError('no <b>address</b>')
    }
    for (const id of ['1', '2', '3']) await world.send(id, key)
    world.handler.now = () => {}
    const browser = entered(world.operator)
    return { ...browser, at: linkFrom((await browser.get('/keys')).text) }
  }
  const linkFrom = (page: string): string =>
    /href="([^"]+keys\/lane[^"]+)"/.exec(page)?.[1]?.replaceAll('&amp;', '&') ?? ''
  const acts = async () => (await world.letters.log()).map(({ by, act }) => `${by} ${act}`)
  const plain = (page: string): string => page.replace(/\s+/g, ' ')

  it('shows a blocked key on the overview, in the list, and its messages in order on its own page', async () => {
    const { get, at } = await blocked()
    const overview = (await get('/')).text
    expect(overview).toContain('Blocked keys')
    expect(linkFrom(overview)).toBe(at)
    const list = (await get('/keys')).text
    expect(list).toContain('waits for you')
    expect(list).toContain('no &lt;b&gt;address')
    expect((await get('/keys?key=A')).text).toContain('keys/lane')
    expect((await get('/keys?key=B')).text).toContain('No parked keys')
    const page = (await get(at)).text
    expect(page).toContain('This key waits for you.')
    const messages = page.slice(page.indexOf('Messages, in order'))
    expect([...messages.matchAll(/<code class="short">(\d)<\/code>/g)].map(([, id]) => id)).toEqual(['1', '2', '3'])
  })

  it('tells in the story of a message that it is parked, and behind how many', async () => {
    const { get, at } = await blocked()
    expect((await get('/message?id=1')).text).toContain('key 1: blocks the others of its key until an operator acts')
    expect((await get('/message?id=3')).text).toContain('key 3: parked behind 2 messages of its key')
    world.handler.now = () => {
      throw new RetryLater(60_000)
    }
    await world.send('later', 'B')
    expect((await get('/message?id=later')).text).toMatch(/key later: parked, tried again at \d{4}-.*, 0 attempts/)
    expect(at).not.toBe('')
  })

  it('lets the first message of a blocked key run again, and tells a form that comes second', async () => {
    const { get, submit, at } = await blocked()
    const page = (await get(at)).text
    expect((await submit(page, /lane\/unblock$/)).text).toContain('Its first message runs again')
    expect(plain((await submit(page, /lane\/unblock$/)).text)).toContain('it changed in the meantime')
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['1', '2', '3'])
    const gone = await get(at)
    expect([gone.status, gone.text.includes('This key is not parked')]).toEqual([404, true])
    expect(await acts()).toEqual(['ana keys unblock'])
  })

  it('drops the message that was shown, and no other one that blocks the key by then', async () => {
    const { get, submit, at } = await blocked()
    const page = (await get(at)).text
    expect((await submit(page, /lane\/drop$/, { claim: '2' })).text).toContain('Nothing was done')
    expect((await submit(page, /lane\/drop$/)).text).toContain('1 message dropped, and the key goes on.')
    expect((await submit(page, /lane\/drop$/)).text).toContain('Nothing was done')
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['2', '3'])
    expect(await acts()).toEqual(['ana keys drop'])
  })

  it('drops all messages of a key, by their number, never more than were seen, and none while a worker runs one', async () => {
    const { get, submit, at } = await blocked()
    const page = (await get(at)).text
    expect(plain((await submit(page, /drop-all$/, { number: '2' })).text)).toContain('Type 3, the number of messages.')
    await world.send('4')
    expect(plain((await submit(page, /drop-all$/, { number: '3' })).text)).toContain('it is 4 now')
    const next = (await get(at)).text
    await world.pool.query(
      `update ${world.schema}.parked_lane set token = 1, owner = 'w', next_at = clock_timestamp() + interval '1 min'`,
    )
    expect((await submit(next, /drop-all$/, { number: '4' })).text).toContain('a worker runs a message of this key')
    await world.pool.query(`update ${world.schema}.parked_lane set next_at = clock_timestamp()`)
    expect((await submit(next, /drop-all$/, { number: '4' })).text).toContain('4 messages dropped')
    expect(await world.isFree()).toBe(true)
    expect(await world.effects()).toEqual([])
    expect(await acts()).toEqual(['ana keys drop'])
  })

  it('has no form for the head of a key that is tried again by itself', async () => {
    world.handler.now = () => {
      throw new RetryLater(60_000)
    }
    await world.send('1')
    const { get, submit } = entered(world.operator)
    const page = (await get(linkFrom((await get('/keys')).text))).text
    expect(page).toContain('tried again by itself')
    expect(formsOf(page).map(({ action }) => action)).toEqual(['/keys/lane/drop-all'])
    expect((await submit(page, /drop-all$/)).text).toContain('1 message dropped')
  })

  it('shows a viewer the same without a form, and refuses what one sends', async () => {
    const { at } = await blocked()
    for (const options of [{ readOnly: true }, { auth: () => ({ name: 'eve', role: 'viewer' as const }) }]) {
      const { get, post } = entered(world.operator, {
        ...options,
        ...('auth' in options && { loopback: undefined }),
      } as object)
      const { status, text } = await get(at)
      expect([status, formsOf(text).filter(({ method }) => method === 'post')]).toEqual([200, []])
      const { scope, lane } = await world.lane()
      const body = new URLSearchParams({ scope, lane, claim: '1', messages: '3', number: '3' }).toString()
      for (const act of ['unblock', 'drop', 'drop-all'])
        expect((await post(`/keys/lane/${act}`, body)).status, act).toBe(403)
    }
    expect((await world.lane()).messages).toBe(3)
    expect(await acts()).toEqual([])
  })

  it('finds a key that is longer than an address, and says so of one that is not parked', async () => {
    const { get, submit, at } = await blocked(`k${'x'.repeat(100_000)}`)
    expect(at.length).toBeLessThan(500)
    expect((await submit((await get(at)).text, /lane\/unblock$/)).text).toContain('Its first message runs again')
    for (const path of ['/keys/lane', '/keys/lane?scope=orders', '/keys/lane?scope=orders&lane=nobody'])
      expect((await get(path)).status, path).toBe(404)
  })
})
