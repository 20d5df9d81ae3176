import { expect, it } from 'vitest'
import { FetchTroubles } from '../../../src/transports/platformatic-kafka/fetch-troubles.ts'

function told() {
  const events: string[] = []
  const troubles = new FetchTroubles(
    ({ message }) => events.push(message),
    () => events.push('recovered'),
  )
  return { events, troubles }
}

it('a broker that works does not cover up one that does not', () => {
  const { events, troubles } = told()
  troubles.began(1, new Error('ECONNREFUSED'))
  troubles.began(1, new Error('ECONNREFUSED'))
  troubles.over(2)
  expect(troubles.problem).toBe('messages cannot be fetched from broker 1: ECONNREFUSED')
  troubles.over(1)
  expect(troubles.problem).toBeUndefined()
  expect(events).toEqual(['ECONNREFUSED', 'recovered'])
})

it('a leader that moved is no trouble; a partition that is refused again is', () => {
  const { events, troubles } = told()
  troubles.refused(1, 'orders/3: NOT_LEADER_OR_FOLLOWER')
  troubles.over(1)
  expect(events).toEqual([])
  troubles.refused(1, 'orders/3: TOPIC_AUTHORIZATION_FAILED')
  troubles.refused(1, 'orders/3: TOPIC_AUTHORIZATION_FAILED')
  expect(troubles.problem).toBe('messages cannot be fetched from broker 1: orders/3: TOPIC_AUTHORIZATION_FAILED')
})
