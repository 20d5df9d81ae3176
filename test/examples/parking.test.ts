import { expect, it } from 'vitest'
import { runExample } from './run.ts'

it('parking: a customer whose address is missing blocks only himself', { timeout: 60_000 }, async () => {
  const { code, stdout, stderr } = await runExample('examples/parking/main.ts')
  expect(stderr).toBe('')
  expect(stdout).toBe(printed)
  expect(code).toBe(0)
})

const printed = `without parking
1 s  ██████                                  57 of others,  0 of ada
2 s  ██████                                  57 of others,  0 of ada
3 s  ██████                                  57 of others,  0 of ada
4 s  ██████████████                         142 of others,  8 of ada
5 s  ████████████████████████               237 of others, 13 of ada
6 s  █████████████████████████████████      332 of others, 18 of ada
7 s  ██████████████████████████████████████ 380 of others, 20 of ada
8 s  ██████████████████████████████████████ 380 of others, 20 of ada
400 of 400 handled, 0 twice, ada in order

with parking
1 s  ██████████                              99 of others,  0 of ada
2 s  ████████████████████                   199 of others,  0 of ada
3 s  ██████████████████████████████         299 of others,  0 of ada
4 s  ██████████████████████████████████████ 380 of others, 12 of ada
5 s  ██████████████████████████████████████ 380 of others, 20 of ada
6 s  ██████████████████████████████████████ 380 of others, 20 of ada
7 s  ██████████████████████████████████████ 380 of others, 20 of ada
8 s  ██████████████████████████████████████ 380 of others, 20 of ada
400 of 400 handled, 0 twice, ada in order
`
