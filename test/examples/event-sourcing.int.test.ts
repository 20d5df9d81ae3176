import { expect, it } from 'vitest'
import { describeWith, postgresUrl } from '../support/services.ts'
import { runExample } from './run.ts'

const file = 'examples/event-sourcing/main.ts'

/** The lines that do not depend on the moment. */
const stable = (text: string) => text.split('\n').filter((line) => !line.includes('repeats'))

describeWith(['postgres'], 'event-sourcing', () => {
  const env = () => ({ HOLDFAST_POSTGRES_URL: postgresUrl() })

  it('makes each command one event, whoever was first, and both read models follow', { timeout: 120_000 }, async () => {
    const ended = await runExample(file, [], env())
    expect(ended.stderr).toBe('')
    expect(stable(ended.stdout)).toEqual([
      '  events          300: 200 paid, 80 refused',
      '  streams         0 of 20 with gaps or a version twice',
      '  cards           0 overdrawn',
      '  read model      0 cards differ from their events',
      '  takings         0 payments off; 0 dead letters',
      'kept: every command is one event, and both read models are what the events say',
      '',
    ])
    expect(ended.stdout).toMatch(/300; [1-9]\d* repeats suppressed, [1-9]\d* times somebody else was first/)
    expect(ended.code).toBe(0)
  })

  it('its audit fails without the claims', { timeout: 120_000 }, async () => {
    const { code, stdout } = await runExample(file, ['--without', 'claims'], env())
    expect(Number(/events +(\d+)/.exec(stdout)?.[1])).toBeGreaterThan(300)
    expect(stdout).toContain('BROKEN: see above\n')
    expect(code).toBe(1)
  })

  it('its audit fails without the key of the versions', { timeout: 120_000 }, async () => {
    const { code, stdout } = await runExample(file, ['--without', 'versions'], env())
    expect(stdout).toMatch(/streams +[1-9]\d* of 20/)
    expect(stdout).toContain('BROKEN: see above\n')
    expect(code).toBe(1)
  })

  it('says in one line what it can be run without', async () => {
    expect(await runExample(file, ['--without', 'luck'], env())).toEqual({
      code: 2,
      stdout: '',
      stderr: '--without takes claims or versions, got luck\n',
    })
  })
})
