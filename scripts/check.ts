import { spawn } from 'node:child_process'
import { join } from 'node:path'

// Types, lint and format. Each of these programs keeps one core busy, so that two run at a time.
// With `--services` the servers of the tests start beside them; what is wrong with those is for the tests to say.

const lanes = [
  [['tsc'], ['tsc', '-p', 'tsconfig.build.json', '--noEmit'], ['prettier', '--check', '.']],
  [['eslint', '.']],
]
const programs = join(import.meta.dirname, '../node_modules/.bin')

/** Runs a program of `node_modules` to its end, and prints what it printed. */
function run([name = '', ...args]: readonly string[]): Promise<boolean> {
  const child = spawn(join(programs, name), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32',
  })
  const printed: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => printed.push(piece))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      process.stdout.write(
        `${[name, ...args].join(' ')}: ${code === 0 ? 'fine' : 'FAILED'}\n${Buffer.concat(printed).toString()}`,
      )
      resolve(code === 0)
    })
  })
}

if (process.argv.includes('--services')) {
  const asked = process.env['HOLDFAST_TEST_SERVICES']?.split(/[\s,]+/).filter((name) => name !== '') ?? []
  const flags = ['--disable-warning=TimeoutNegativeWarning', join(import.meta.dirname, 'services.ts'), 'up']
  spawn(process.execPath, [...flags, ...asked], { stdio: 'ignore' }).unref()
}
const results = await Promise.all(
  lanes.map(async (lane) => {
    for (const program of lane) if (!(await run(program))) return false
    return true
  }),
)
process.exitCode = results.every(Boolean) ? 0 : 1
