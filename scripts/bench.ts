import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// The peers are dependencies of the bench alone, so that the product's own install stays small.
const root = fileURLToPath(new URL('..', import.meta.url))
const bench = fileURLToPath(new URL('../bench', import.meta.url))

if (isOlder(`${bench}/node_modules/.package-lock.json`, `${bench}/package-lock.json`)) {
  console.error('bench: installing the peers…')
  run('npm', ['ci'], bench)
}
console.error('bench: building…')
run('npm', ['run', '--silent', 'build'], root)
run(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, '-p', 'tsconfig.json'], bench)
run(
  process.execPath,
  ['--expose-gc', '--disable-warning=TimeoutNegativeWarning', 'run.ts', ...process.argv.slice(2)],
  bench,
)

function run(command: string, args: readonly string[], cwd: string): void {
  const { status } = spawnSync(command, args, { cwd, stdio: ['inherit', command === 'npm' ? 2 : 'inherit', 'inherit'] })
  if (status !== 0) process.exit(status ?? 1)
}

function isOlder(made: string, source: string): boolean {
  return !existsSync(made) || statSync(made).mtimeMs < statSync(source).mtimeMs
}
