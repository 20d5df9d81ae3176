#!/usr/bin/env node
import { createInterface } from 'node:readline'
import { main } from '../dist/cli/main.js'

// A closed pipe, as of `| head`, is success.
process.stdout.on('error', (error) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})
const interrupted = new AbortController()
process.once('SIGINT', () => {
  interrupted.abort()
  // A second one, or a question that does not end, ends the process as usual.
  setTimeout(() => process.exit(130), 1000).unref()
})

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  columns: process.stdout.columns ?? 160,
  interactive: process.stdin.isTTY === true && process.stdout.isTTY === true,
  signal: interrupted.signal,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  ask(question) {
    const lines = createInterface({ input: process.stdin, output: process.stdout })
    return new Promise((resolve) => {
      lines.once('close', () => resolve(''))
      lines.question(question, (answer) => {
        resolve(answer)
        lines.close()
      })
    })
  },
  readInput: () => createInterface({ input: process.stdin }),
})
