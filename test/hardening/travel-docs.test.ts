import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { directionsOf } from './travel.ts'

const docs = join(import.meta.dirname, '../../docs')
const directions = directionsOf(readFileSync(join(docs, 'how-a-message-travels.md'), 'utf8'))

it('the page that leads through the source has its three trips, there and back', () => {
  expect(directions.map(({ trip, way }) => `${trip}: ${way}`)).toEqual([
    'A Kafka message and its commit: To the handler',
    'A Kafka message and its commit: Back',
    'A RabbitMQ message and its ack: To the handler',
    'A RabbitMQ message and its ack: Back',
    'A message that is given up: To the broker',
    'A message that is given up: Back',
  ])
})

describe.each(directions)('$trip, $way', ({ steps }) => {
  it('enters each file once', () => {
    const files = steps.map(({ file }) => file)
    expect(files).toEqual([...new Set(files)])
  })

  it.each(steps)('$file has $wanted', ({ file, link, wanted }) => {
    expect(link).toBe(`../src/${file}`)
    expect(existsSync(join(docs, link))).toBe(true)
    const source = readFileSync(join(docs, link), 'utf8')
    expect(source).toMatch(new RegExp(`${wanted}\\b:? ?[(<]`))
  })
})
