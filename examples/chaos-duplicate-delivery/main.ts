import { ResilienceError } from 'holdfast/testing'
import { tryNaive, tryWrapped } from './chaos.ts'

console.log('The handler as it was:\n')
try {
  await tryNaive()
  console.log('passed, which it should not')
  process.exitCode = 1
} catch (error) {
  if (!(error instanceof ResilienceError)) throw error
  console.log(error.message)
}

console.log('\nThe same handler inside a pipeline with idempotency():\n')
const { schedules, seconds } = await tryWrapped()
console.log(`${schedules} schedules, and no order was charged twice or not at all`)
if (process.argv.includes('--rate')) console.log(`${Math.round(schedules / seconds)} schedules per second`)
