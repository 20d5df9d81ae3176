import type { Admin, Kafka } from 'kafkajs'
import { expect, it } from 'vitest'
import { kafkajsPromotion } from '../../../src/transports/kafkajs/index.ts'

/** A client whose admins connect, or not, in the order in which they are made. */
function fakeKafka(connects: readonly boolean[]) {
  const open = new Set<number>()
  let made = 0
  const kafka = {
    admin() {
      const at = made++
      return {
        async connect() {
          open.add(at)
          if (connects[at] !== true) throw new Error('Connection timeout')
        },
        disconnect: async () => void open.delete(at),
      } as unknown as Admin
    },
  }
  return { kafka: kafka as unknown as Pick<Kafka, 'admin'>, open }
}

it('leaves no admin connected where the other one cannot be', async () => {
  const groups = { groupId: 'v1', secondGroupId: 'v2', topics: ['orders'] }
  for (const connects of [[true, false], [false, true], [false]]) {
    const { kafka, open } = fakeKafka(connects)
    await expect(kafkajsPromotion({ kafka, ...groups })).rejects.toMatchObject({ code: 'unavailable' })
    expect([...open]).toEqual([])
  }
})
