import type { Contract } from './contract.ts'
import type { JsonSchema } from './schema.ts'
import type { Service } from './service.ts'

/** What is named in a document has letters, digits, `_` and `-` alone. Equal names stay apart by a number. */
function namesFor(texts: readonly string[]): (text: string) => string {
  const names = new Map<string, string>()
  for (const text of new Set(texts)) {
    const plain = text.replace(/[^A-Za-z0-9_-]+/g, '_')
    let name = plain
    for (let number = 2; [...names.values()].includes(name); number++) name = `${plain}_${number}`
    names.set(text, name)
  }
  return (text) => names.get(text) ?? text
}

/**
 * An AsyncAPI 3.0 document of one service: what it sends, and what it receives. Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
 * @param version the version of the service's document, such as that of its package
 */
export function asyncApi(service: Service, { version }: { readonly version: string }): JsonSchema {
  const { name, owner, does, publishes, consumes } = service
  const operations = [
    ...publishes.map((contract) => ({ action: 'send', contract })),
    ...consumes.map(({ contract }) => ({ action: 'receive', contract })),
  ]
  const contracts = [...new Map(operations.map(({ contract }) => [contract.type, contract])).values()]
  const message = namesFor(contracts.map(({ type }) => type))
  const channel = namesFor(contracts.map(({ destination }) => destination))
  const channels = [...new Set(contracts.map(({ destination }) => destination))]
  return {
    asyncapi: '3.0.0',
    info: { title: name, version, description: does, 'x-owner': owner },
    defaultContentType: 'application/json',
    channels: Object.fromEntries(
      channels.map((address) => {
        const here = contracts.filter(({ destination }) => destination === address)
        const messages = here.map(({ type }) => [message(type), { $ref: `#/components/messages/${message(type)}` }])
        return [channel(address), { address, messages: Object.fromEntries(messages) as JsonSchema }]
      }),
    ),
    operations: Object.fromEntries(
      operations.map(({ action, contract: { type, destination, about } }) => {
        const $ref = `#/channels/${channel(destination)}`
        const messages = [{ $ref: `${$ref}/messages/${message(type)}` }]
        return [`${action}_${message(type)}`, { action, channel: { $ref }, messages, summary: about.why }]
      }),
    ),
    components: {
      messages: Object.fromEntries(
        contracts.map((each) => {
          const named = message(each.type)
          return [named, messageOf(each, named)]
        }),
      ),
    },
  }
}

function messageOf(contract: Contract, name: string): JsonSchema {
  const { version, older, owner, why, examples, deprecated } = contract.about
  const headers = {
    'message-id': { type: 'string' },
    'message-type': { const: contract.type },
    'message-version': { const: String(version) },
  }
  return {
    ...{ name: contract.type, title: contract.type, summary: why, contentType: 'application/json' },
    headers: { type: 'object', properties: headers },
    payload: moved(contract.jsonSchema() ?? {}, `#/components/messages/${name}/payload`),
    examples: examples.map((payload) => ({ payload })),
    ...{ 'x-owner': owner, 'x-version': version, 'x-older-versions': older },
    ...(deprecated !== undefined && { 'x-deprecated': deprecated }),
  }
}

/** A schema's own references begin at the schema. In a document they would begin at the document. */
function moved<Schema>(schema: Schema, to: string): Schema {
  return JSON.parse(JSON.stringify(schema), (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' && value.startsWith('#') ? to + value.slice(1) : value,
  ) as Schema
}
