import { createServer } from 'node:http'
import { afterEach, expect, it } from 'vitest'
import { service } from '../stores/postgres/dead-letter-support.ts'
import { describeWith, postgresUrl } from '../support/services.ts'
import { holdfast } from './support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

describeWith(['postgres'], 'holdfast ui', () => {
  async function served(line: string) {
    const made = await service()
    open.push(made)
    await made.send('m1')
    const stop = new AbortController()
    let address: (url: string) => void = () => {}
    const printed = new Promise<string>((resolve) => (address = resolve))
    const exited = holdfast(line, {
      env: { HOLDFAST_POSTGRES_URL: postgresUrl(), HOLDFAST_SCHEMA: made.schema, HOLDFAST_OPERATOR: 'ana' },
      signal: stop.signal,
      out: (text) => address(text),
    })
    const [url = ''] = (await printed).split('\n')
    return { ...made, url, stop, exited, printed: await printed }
  }

  it('serves the page on loopback to who has its address, read-only, until it is interrupted', async () => {
    const { url, stop, exited, printed } = await served('ui --port 0')
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{43}$/)
    expect(printed).toContain('read-only')
    const { origin } = new URL(url)
    expect((await fetch(origin)).status).toBe(401)
    const entered = await fetch(url, { redirect: 'manual' })
    const cookie = entered.headers.getSetCookie()[0]?.split(';')[0] ?? ''
    const page = await fetch(`${origin}/letters/1`, { headers: { cookie } })
    expect(page.status).toBe(200)
    const text = await page.text()
    expect(text).toContain('operator, read only')
    expect(text).not.toContain('method="post"')
    stop.abort()
    expect((await exited).exit).toBe(0)
    await expect(fetch(origin)).rejects.toThrow()
  })

  it('acts where that was asked for, in the name of its user', async () => {
    const { url, stop, exited, letters } = await served('ui --port 0 --allow-acts --json')
    const { address } = JSON.parse(url) as { address: string }
    const { origin } = new URL(address)
    const cookie = (await fetch(address, { redirect: 'manual' })).headers.getSetCookie()[0]?.split(';')[0] ?? ''
    const text = await (await fetch(`${origin}/letters/drop?ids=1`, { headers: { cookie } })).text()
    const fields = [...text.matchAll(/<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"/g)].map(
      ([, a = '', b = '']): [string, string] => [a, b],
    )
    const dropped = await fetch(`${origin}/letters/drop`, {
      method: 'POST',
      headers: { cookie, origin, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(fields).toString(),
    })
    expect(await dropped.text()).toContain('1 letter dropped.')
    expect(await letters.log()).toMatchObject([{ by: 'ana', act: 'drop', letter: '1' }])
    stop.abort()
    await exited
  })

  it('says so where its port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    const { port } = other.address() as { port: number }
    const made = await service()
    open.push(made)
    const env = { HOLDFAST_POSTGRES_URL: postgresUrl(), HOLDFAST_SCHEMA: made.schema }
    const { exit, err } = await holdfast(`ui --port ${port}`, { env })
    expect([exit, err]).toEqual([
      3,
      `holdfast: port ${port} of this machine cannot be used: EADDRINUSE; try --port 0\n`,
    ])
    other.close()
  })
})
