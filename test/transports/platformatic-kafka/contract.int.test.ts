import { describe, it } from 'vitest'
import { transportContract } from 'holdfast/testing'
import { describeWith, kafkaBrokers } from '../../support/services.ts'
import { transportOn } from './under-test.ts'

describeWith(['kafka'], 'the managed consumer on @platformatic/kafka', () => {
  const [broker = ''] = kafkaBrokers()
  const times = { classic: { sessionMs: 3000, rebalanceMs: 8000 }, consumer: { sessionMs: 4000, rebalanceMs: 8000 } }
  describe.each(['classic', 'consumer'] as const)('with the %s protocol', (protocol) => {
    const transport = transportOn(broker, protocol, times[protocol])
    for (const { name, run } of transportContract(transport)) it(name, { timeout: 90_000 }, run)
  })
})
