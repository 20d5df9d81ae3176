import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { installOwnPackages } from './own-packages.ts'

// The peers are dependencies of the bench alone, so that the product's own install stays small.
const root = fileURLToPath(new URL('..', import.meta.url))
const bench = fileURLToPath(new URL('../bench', import.meta.url))

installOwnPackages(bench, 'bench: installing the peers…')
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
