import { describe, it } from 'vitest'
import { memoryBroker } from 'holdfast/memory'
import { chaos, publisherContract } from 'holdfast/testing'
import { publisher, type Publisher } from 'holdfast'

function create(wrap: (wire: Publisher) => Publisher) {
  const broker = memoryBroker()
  let topics = 0
  return {
    publisher: wrap(broker.publisher()),
    createDestination: () => `topic-${topics++}`,
    arrived: async (topic: string) => broker.messages(topic),
  }
}

describe.for<[string, (wire: Publisher) => Publisher]>([
  ['the memory publisher', (wire) => wire],
  [
    'a publisher with middleware',
    (wire) => publisher(wire).use((next) => (messages, options) => next(messages, options)),
  ],
  // Everything comes twice, and order is that of the first.
  ['a publisher in trouble', (wire) => chaos(wire, { seed: 1, rate: 1, faults: ['duplicate'] })],
])('%s', ([, wrap]) => {
  for (const { name, run } of publisherContract(() => create(wrap))) it(name, run)
})
