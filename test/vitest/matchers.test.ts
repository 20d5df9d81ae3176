import { describe, expect, it } from 'vitest'
import { idempotency, pipeline, type Delivery } from 'holdfast'
import { keyed, type Kit } from 'holdfast/testing'
import { resilienceMatchers } from 'holdfast/vitest'

expect.extend(resilienceMatchers)

const charge = (_id: string): void => {}
const effects = { charge }
const faults = ['duplicate'] as const

async function chargeCustomer({ message }: Delivery, { charge }: { charge(id: string): Promise<void> }) {
  await charge(message.id)
}

function buildOrders({ store, handler, effects: { charge } }: Kit<typeof effects>) {
  return pipeline('orders')
    .use(idempotency({ store }))
    .handle(handler(({ message }) => charge(message.id)))
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error instanceof Error ? error.message : ''
}

describe('toBeResilient', () => {
  it('passes where nothing hurts', async () => {
    await expect(chargeCustomer).toBeResilient({ effects: { charge: keyed(charge, (id) => id) }, faults, seeds: 50 })
  })

  it('fails with the schedule that hurts', async () => {
    const message = await messageOf(expect(chargeCustomer).toBeResilient({ effects, faults }))
    expect(message).toContain('chargeCustomer: once\n  m1 took effect twice: charge')
    expect(message).toContain("replay: 'm1 c1 p1; duplicate send m1 0ms'")
  })

  it('can ask for the opposite', async () => {
    await expect(chargeCustomer).not.toBeResilient({ effects, faults })
    const message = await messageOf(expect(chargeCustomer).not.toBeResilient({ effects, faults: [], seeds: 3 }))
    expect(message).toBe('expected a schedule that hurts it; none of 4 did')
  })

  it('takes no mistake in the test for a failure of the handler', async () => {
    await expect(messageOf(expect(chargeCustomer).not.toBeResilient({ seeds: 0 }))).resolves.toBe(
      'explore: seeds must be an integer of at least 1, got 0',
    )
    await expect(messageOf(expect('text').toBeResilient())).resolves.toBe('expect(…).toBeResilient() takes a handler')
  })
})

describe('the time-out of a test', () => {
  const keyedCharge = { charge: keyed(charge, (id) => id) }

  it('is kept: the search takes what time there is', { timeout: 3_000 }, async () => {
    await expect(chargeCustomer).toBeResilient({ effects: keyedCharge, messages: 6 })
    await expect(chargeCustomer).not.toBeResilient({ effects, faults })
  })

  it('fails the test where the schedules that it asks for do not fit', { timeout: 1_500 }, async () => {
    const asked = expect(chargeCustomer).toBeResilient({ effects: keyedCharge, seeds: 1_000_000 })
    await expect(messageOf(asked)).resolves.toMatch(/^only \d+ of 1000000 schedules fit into \d+ ms/)
  })

  it('counts for nothing where the test names a budget of its own', async () => {
    await expect(chargeCustomer).toBeResilient({ effects: keyedCharge, seeds: 1_000_000, budgetMs: 100 })
  })
})

describe('toWithstand', () => {
  it('passes a pipeline that withstands, and fails one that does not', async () => {
    await expect(buildOrders).toWithstand({ effects, faults, seeds: 50 })
    await expect(buildOrders).not.toWithstand({ effects, faults: ['crash'] })
  })
})
