import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { catalogue, contract, service } from '../../src/contracts/index.ts'
import { services } from './coffee.ts'

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>'\`</title>`

describe('catalogue()', () => {
  it('shows every event, why, whose it is, and who publishes and handles it', () => {
    const page = catalogue(services, { title: 'Events' })
    for (const text of [
      'order.placed',
      'order.paid',
      'A customer has ordered',
      'billing',
      'kitchen',
      'items[].cups',
      'reads 1 too',
    ])
      expect(page).toContain(text)
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/)
    expect(page).toContain('content-security-policy')
  })

  // To renew it after a change, look at the page and run with -u.
  it('is the page that was looked at', async () => {
    await expect(catalogue(services, { title: 'Events' })).toMatchFileSnapshot('catalogue.golden')
  })

  it('lets no text become markup', () => {
    const event = contract(hostile, {
      version: 1,
      schema: z.object({ [hostile]: z.string().describe(hostile).default(hostile), kind: z.enum([hostile]) }),
      owner: hostile,
      why: hostile,
      destination: hostile,
      examples: [{ kind: hostile }] as never,
      deprecated: { since: hostile, until: '9999', instead: hostile },
    })
    const one = service(hostile, { owner: hostile, does: hostile, publishes: [event], consumes: [event] })
    const page = catalogue([one], { title: hostile })
    expect(page.match(/<script|<img|onerror=[^a&]/g)).toBeNull()
    expect(page.match(/<title>/g)).toHaveLength(2)
    expect(page).toContain('&lt;script&gt;')
  })

  it('draws a circle of services, and none at all', () => {
    const [shop, billing] = services
    const loop = service('loop', {
      owner: 'x',
      does: 'Answers.',
      publishes: shop?.publishes ?? [],
      consumes: shop?.publishes ?? [],
    })
    expect(catalogue([loop, billing ?? loop], { title: 'T' })).toContain('cycle')
    expect(catalogue([], { title: 'T' })).toContain('0 events of 0 services')
  })
})
