import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { expect, it } from 'vitest'
import { root, run, runExample, type Ended } from './run.ts'

it(
  'webhook: answers an event, its repeat, one that must wait and one that is broken',
  { timeout: 60_000 },
  async () => {
    expect(await runExample('examples/webhook/main.ts')).toEqual(
      printed(`
  booked 4200 cents for A-17 (evt-1)
an event: 200 handled
the same event again: 200 duplicate
while the ledger is down: 503 not now, retry-after 20 s
  booked 900 cents for A-18 (evt-2)
sent again later: 200 handled
no JSON: 400 cannot be handled
signed by somebody else: 401 not signed
`),
    )
  },
)

it('idempotency-key: one effect for each key, and its answer again', { timeout: 60_000 }, async () => {
  expect(await runExample('examples/idempotency-key/main.ts')).toEqual(
    printed(`
  charged 450 cents
a charge: 200 {"receipt":1,"cents":450}
the same again: 200 {"receipt":1,"cents":450}, replayed
the same key, another body: 422 {"error":"this key came with another body before"}
the same key in flight: 409 {"error":"the first request is still running"}
  charged 300 cents
a slow charge: 200 {"receipt":2,"cents":300}
the same key afterwards: 200 {"receipt":2,"cents":300}, replayed
a stolen card: 402 {"error":"the card was declined"}
the same again: 402 {"error":"the card was declined"}, replayed
  charged 200 cents
a long receipt: 200 2035 characters
the same again: 409 {"error":"it was done before, and its result is gone: too-large"}
charges: 3
`),
  )
})

it('sqs-lambda: hands back what failed and what stands behind it in its group', { timeout: 60_000 }, async () => {
  expect(await runExample('examples/sqs-lambda/main.ts')).toEqual(
    printed(`
a batch of 5
  brewed 2 for order-1
handed back: m-2, m-3
the grinder is mended
  brewed 1 for order-2
  brewed 3 for order-3
handed back: none
dead letters: m-5
`),
  )
})

it('nest: a method of a provider handles requests and messages', { timeout: 60_000 }, async () => {
  // Inside the project, so that its packages are found.
  const dist = join(root, 'examples/nest/dist')
  await mkdir(dist, { recursive: true })
  const out = await mkdtemp(join(dist, 'test-'))
  try {
    const tsc = ['node_modules/typescript/bin/tsc', '-p', 'examples/nest']
    expect(await run([...tsc, '--noEmit'])).toEqual(printed(''))
    const emit = ['--noEmit', 'false', '--noCheck', '--paths', 'null', '--rootDir', 'examples/nest', '--outDir', out]
    expect(await run([...tsc, ...emit])).toEqual(printed(''))
    expect(await runExample(join(relative(root, out), 'main.js'))).toEqual(
      printed(`
  brewed 2 for order-1
an order: 200 {"outcome":"handled"}
the same order again: 200 {"outcome":"duplicate"}
  brewed 3 for order-2
health: {"holdfast":{"status":"up","parts":{"memory cafe":"up"}}}
`),
    )
  } finally {
    await rm(out, { recursive: true })
  }
})

function printed(stdout: string): Ended {
  return { code: 0, stdout: stdout.replace(/^\n/, ''), stderr: '' }
}
