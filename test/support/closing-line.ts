import type { Reporter, TestModule } from 'vitest/node'
import { reasonIn } from './skipped.ts'

/** What this reporter reads of a test. */
interface Ended {
  readonly fullName: string
  result(): { readonly state: 'passed' | 'failed' | 'skipped' | 'pending' }
}

/** What this reporter reads of a file of tests. */
interface Module {
  errors(): readonly unknown[]
  readonly children: { allTests(): Iterable<Ended> }
}

/**
 * Ends a run with why tests were skipped, and with its counts on one plain line for programs that read logs.
 * A file that failed to load counts as a failure.
 */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const [first] = modules
    const filtered = first !== undefined && first.project.globalConfig.testNamePattern !== undefined
    for (const line of closingLines(modules, unhandled.length, filtered)) console.log(line)
  }
}

/** The lines at the end of a run. `filtered` says that only tests of some names were asked for. */
export function closingLines(modules: readonly Module[], unhandled: number, filtered: boolean): string[] {
  const counts = { passed: 0, failed: unhandled, skipped: 0 }
  const reasons = new Map<string, number>()
  for (const module of modules) {
    counts.failed += module.errors().length
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      if (state === 'passed' || state === 'failed') {
        counts[state]++
        continue
      }
      counts.skipped++
      const reason = reasonIn(test.fullName) ?? (filtered ? 'its name was not asked for' : 'it gives no reason')
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    }
  }
  const most = [...reasons].sort(([, a], [, b]) => b - a)
  return [
    ...(most.length > 0 ? ['', 'Skipped:', ...most.map(([reason, count]) => `  ${count}  ${reason}`)] : []),
    '',
    `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`,
  ]
}
