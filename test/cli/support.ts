import { main } from '../../src/cli/main.ts'
import type { Surroundings } from '../../src/cli/command.ts'

export interface Ran {
  readonly exit: number
  readonly out: string
  readonly err: string
}

/** Runs the command in this process, with what a terminal would have seen. */
export async function holdfast(
  line: string | readonly string[],
  around: Partial<Surroundings> & { readonly input?: string } = {},
): Promise<Ran> {
  let [out, err] = ['', '']
  const argv = typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : line
  const exit = await main(argv, {
    env: {},
    cwd: '/nowhere',
    columns: 160,
    interactive: false,
    signal: new AbortController().signal,
    out: (text) => (out += text),
    err: (text) => (err += text),
    ask: () => Promise.resolve(''),
    async *readInput() {
      yield* (around.input ?? '').split('\n')
    },
    ...around,
  })
  return { exit, out, err }
}
