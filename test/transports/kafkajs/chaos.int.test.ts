import { expect, it } from 'vitest'
import { spawnChild } from '../../support/child.ts'
import { describeFull } from '../../support/skipped.ts'

/** The crash run in short, and the faults that it has to find. */
const runs = [
  { args: ['--messages', '3000'], code: 0 },
  { args: ['--ordered', '--messages', '10000'], code: 0 },
  { args: ['--ordered', '--graceful', '--messages', '4000', '--handler-ms', '50'], code: 0 },
  { args: ['--messages', '8000', '--break', 'token-check'], code: 1 },
  { args: ['--messages', '8000', '--break', 'early-key'], code: 1 },
  { args: ['--ordered', '--messages', '15000', '--break', 'highest-offset'], code: 1 },
  { args: ['--ordered', '--messages', '4000', '--handler-ms', '50', '--break', 'ownership-guard'], code: 1 },
]

describeFull('npm run chaos:kafka', () => {
  it.each(runs)('$args ends with $code', { timeout: 900_000 }, async ({ args, code }) => {
    const child = spawnChild('scripts/chaos/kafka/main.ts', { args })
    const ended = await child.exited
    expect(ended, child.lines.join('\n')).toEqual({ code, signal: null })
  })
})
