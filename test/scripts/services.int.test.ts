import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { projectDir } from '../../scripts/services/paths.ts'
import { freePorts } from '../../scripts/services/ports.ts'
import { isAlive } from '../../scripts/services/processes.ts'
import type { Running } from '../../scripts/services/records.ts'
import { defaultNames, serviceNamed } from '../../scripts/services/table.ts'
import { describeWith, redisUrl, serviceAddress } from '../support/services.ts'

interface Ended {
  readonly code: number | null
  readonly output: string
}

describeWith(defaultNames, 'npm run services', () => {
  let folder = ''
  let port = 0

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-services-'))
    port = await freePorts()
  })

  afterEach(async () => {
    await services(['down', 'redis'])
    await rm(folder, { recursive: true, force: true })
  })

  function services(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    const script = join(projectDir, 'scripts/services.ts')
    const settings = { HOLDFAST_SERVICES_DIR: folder, HOLDFAST_SERVICES: 'local', HOLDFAST_REDIS_PORT: String(port) }
    const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, CI: '', ...settings, ...env } })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => resolve({ code, output }))
    })
  }

  const recordFile = () => join(folder, 'redis/service.json')
  const record = async () => JSON.parse(await readFile(recordFile(), 'utf8')) as Running
  const pid = async () => (await record()).processes[0]?.pid ?? 0

  it('starts a server once, however often and by however many it is asked', async () => {
    const both = await Promise.all([services(['up', 'redis']), services(['up', 'redis'])])
    expect(both.map(({ code }) => code)).toEqual([0, 0])
    expect(both.filter(({ output }) => output.includes('already there'))).toHaveLength(1)
    const first = await pid()
    expect((await services(['up', 'redis'])).output).toContain(`redis://127.0.0.1:${port}`)
    expect(await pid()).toBe(first)
  })

  it('stops what it started', async () => {
    await services(['up', 'redis'])
    const { processes } = await record()
    expect(processes.map(isAlive)).toEqual([true])
    expect((await services(['down', 'redis'])).output).toContain('redis  stopped')
    expect(processes.map(isAlive)).toEqual([false])
    expect((await services(['status', 'redis'])).output).toMatch(/^redis +-$/m)
  })

  it('never stops a process that was given the pid of one it started', async () => {
    const stranger = spawn('sleep', ['60'])
    const stale = { how: 'local', version: '7', url: 'redis://127.0.0.1:1', also: {} }
    await mkdir(join(folder, 'redis'))
    await writeFile(
      recordFile(),
      JSON.stringify({ ...stale, processes: [{ pid: stranger.pid, startedAt: 'another boot/1' }] }),
    )
    expect((await services(['status', 'redis'])).output).toMatch(/^redis +-$/m)
    expect((await services(['up', 'redis'])).code).toBe(0)
    expect((await services(['down', 'redis'])).code).toBe(0)
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull()
    stranger.kill()
  })

  it('starts again what was killed', async () => {
    await services(['up', 'redis'])
    const first = await pid()
    process.kill(first, 'SIGKILL')
    expect((await services(['up', 'redis'])).output).not.toContain('already there')
    expect(await pid()).not.toBe(first)
  })

  it('uses the server that the environment names, and leaves it alone', async () => {
    const env = { HOLDFAST_REDIS_URL: redisUrl() }
    expect((await services(['up', 'redis'], env)).output).toMatch(/^redis +environment .*already there/m)
    expect((await services(['down', 'redis'], env)).output).toBe('')
    expect((await services(['status', 'redis'], env)).output).toMatch(/^redis +environment /m)
  })

  it('names a server of the environment that does not answer', async () => {
    const env = { HOLDFAST_REDIS_URL: `redis://user:secret@127.0.0.1:${port}` }
    const { code, output } = await services(['up', 'redis'], env)
    expect({ code, output }).toEqual({
      code: 1,
      output: expect.stringContaining('HOLDFAST_REDIS_URL is set, but no Redis answers') as string,
    })
    expect(output).not.toContain('secret')
  })

  it('says what to install for a server that cannot be had; an error when asked by name', async () => {
    const env = { PATH: folder }
    const named = await services(['up', 'redis'], env)
    expect(named).toEqual({
      code: 1,
      output: expect.stringContaining('redis: not available: install redis-server') as string,
    })
  })

  it('goes on without a server that was not asked for by name, except under CI', async () => {
    const others = Object.fromEntries(
      defaultNames
        .filter((name) => name !== 'redis')
        .map((name) => [serviceNamed(name).urlVariable, serviceAddress(name).url]),
    )
    const here = await services(['up'], { ...others, PATH: folder })
    const ci = await services(['up'], { ...others, PATH: folder, CI: 'true' })
    expect([here.code, ci.code]).toEqual([0, 1])
    for (const { output } of [here, ci]) expect(output).toContain('redis: not available: install redis-server')
  })

  it('refuses a port that is taken when it was asked for, and another name for a port', async () => {
    const taken = new URL(redisUrl()).port
    const { code, output } = await services(['up', 'redis'], { HOLDFAST_REDIS_PORT: taken })
    expect({ code, output }).toEqual({ code: 1, output: expect.stringContaining(`port ${taken} is taken`) as string })
    expect((await services(['up', 'redis'], { HOLDFAST_REDIS_PORT: 'many' })).output).toContain(
      'must be a port number, got many',
    )
  })

  it('says how it is used when the command or the service is unknown', async () => {
    expect(await services(['fetch'])).toEqual({ code: 2, output: expect.stringContaining('Usage:') as string })
    expect(await services(['up', 'oracle'])).toEqual({
      code: 1,
      output: expect.stringContaining('no service oracle') as string,
    })
  })
})
