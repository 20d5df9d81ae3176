import { describe, expect, it } from 'vitest'
import { commands } from '../../src/cli/main.ts'
import { printable, table, width } from '../../src/cli/terminal.ts'
import { jsonLine } from '../../src/cli/print.ts'
import { holdfast } from './support.ts'

const hostile = '\u001b]0;title\u0007\u001b[2J\u202e\u200b\u009b31m\r\n\ud800\u{e0041}\ufe0f'
const unsafe =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\u{e0000}-\u{e0fff}]/u

describe('the command line', () => {
  it('shows its commands, and the flags and an example of each', async () => {
    const { exit, out } = await holdfast('--help')
    expect(exit).toBe(0)
    for (const { name } of commands) {
      expect(out).toContain(name)
      const help = await holdfast([...name.split(' '), '--help'])
      expect(help.exit, name).toBe(0)
      expect(help.out).toContain('example: holdfast ')
      expect(help.out).toContain('--json')
    }
    expect((await holdfast('')).exit).toBe(2)
    expect((await holdfast('dlq --help')).out).toContain('dlq redrive')
  })

  it.each([
    ['dql ls', "there is no command 'dql ls'; did you mean 'dlq ls'?"],
    ['redrives ls', "there is no command 'redrives ls'; did you mean 'redrive ls'?"],
    ['nonsense', "there is no command 'nonsense'; try holdfast --help"],
    ['dlq ls --pipelin x', 'dlq ls has no --pipelin; did you mean --pipeline?'],
    ['dlq ls --xyzzy', 'dlq ls has no --xyzzy'],
    ['dlq ls', 'no database: give --postgres, HOLDFAST_POSTGRES_URL, or `postgres` in holdfast.config.mjs'],
    ['dlq ls --schema A;drop', "--schema: 'A;drop' is no name of a schema"],
    ['doctor now', "doctor takes no arguments, got 'now'"],
    ['dlq ls --config missing.mjs', 'there is no missing.mjs'],
    ['completion fish', 'completion: say bash or zsh'],
  ])('answers %s with one line and exit code 2', async (line, said) => {
    const { exit, err, out } = await holdfast(line)
    expect(err).toBe(`holdfast: ${said}\n`)
    expect(exit).toBe(2)
    expect(out).toBe('')
  })

  it('names host, port and database of a server that is gone, and neither user nor password', async () => {
    const { exit, err } = await holdfast('status --postgres postgres://user:secret@127.0.0.1:1/db')
    expect(exit).toBe(3)
    expect(err).toBe('holdfast: PostgreSQL at 127.0.0.1:1/db cannot be reached: ECONNREFUSED\n')
  })

  it('prints the plan of the schema and its way back without a database', async () => {
    const plan = await holdfast('migrate plan --schema own')
    expect(plan.out).toContain('create table "own".dead_letter')
    const back = await holdfast('migrate rollback-plan --from 3 --schema own')
    expect(back.out).toContain('drop table "own".dead_letter')
    expect(JSON.parse((await holdfast('migrate plan --json')).out)).toHaveProperty('sql')
  })

  it('completes commands and flags in bash and zsh', async () => {
    const { out } = await holdfast('completion bash')
    expect(out).toContain('complete -o default -F _holdfast holdfast')
    expect(out).toContain('--dry-run')
    expect((await holdfast('completion zsh')).out).toContain('bashcompinit')
  })

  it('D-22 lets nothing through to the terminal that moves the cursor, hides or turns text', () => {
    for (const text of [printable(hostile), table(['a'], [[hostile]], 80), jsonLine({ hostile })])
      expect(text).not.toMatch(unsafe)
    expect(printable('ü 李雷 🧵')).toBe('ü 李雷 🧵')
    expect(JSON.parse(jsonLine({ hostile }))).toEqual({ hostile })
  })

  it('fits columns to the terminal by what is seen, not by code units', () => {
    expect(width('李雷')).toBe(4)
    expect(width('e\u0301')).toBe(1)
    const shown = table(['a', 'b'], [['x'.repeat(200), '李'.repeat(100)]], 60)
    for (const line of shown.split('\n')) expect(width(line)).toBeLessThanOrEqual(60)
  })
})
