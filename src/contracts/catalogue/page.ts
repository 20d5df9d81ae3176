import { html, type Fragment, type Html } from '../../dashboard/html.ts'
import type { Contract } from '../contract.ts'
import { lintContracts } from '../lint.ts'
import type { JsonSchema } from '../schema.ts'
import { consumersOf, contractsOf, publishersOf, type Service } from '../service.ts'
import { picture } from './picture.ts'
import { style } from './style.ts'

const policy = "default-src 'none'; style-src 'unsafe-inline'"

/** One page without a script: which events there are, why, whose they are, who publishes and who handles them. */
export function catalogue(services: readonly Service[], { title }: { readonly title: string }): string {
  const contracts = contractsOf(services)
  const page = html`<html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width" />
      <meta http-equiv="content-security-policy" content="${policy}" />
      <title>${title}</title>
      <style>
        ${style}
      </style>
    </head>
    <body>
      <h1>${title}</h1>
      <p class="soft">
        ${contracts.length} events of ${services.length} services, written from the contracts in the code.
      </p>
      ${picture(services)}
      <div class="scroll">${events(contracts, services)}</div>
      ${findings(services)} ${contracts.map((contract) => details(contract))}
    </body>
  </html>`
  return `<!doctype html>\n${page.text}\n`
}

function events(contracts: readonly Contract[], services: readonly Service[]): Html {
  return html`<table>
    <tr>
      <th scope="col">Event</th>
      <th scope="col">Why</th>
      <th scope="col">Team</th>
      <th scope="col">Version</th>
      <th scope="col">Published by</th>
      <th scope="col">Handled by</th>
    </tr>
    ${contracts.map((contract) => {
      const { why, owner, version, deprecated } = contract.about
      const ends = deprecated !== undefined && html` <br /><span class="warning">until ${deprecated.until}</span>`
      return html`<tr>
        <td><a href="#${contract.type}">${contract.type}</a>${ends}</td>
        <td>${why}</td>
        <td class="tight">${owner}</td>
        <td>${version}</td>
        <td>${names(publishersOf(contract, services))}</td>
        <td>${names(consumersOf(contract, services))}</td>
      </tr>`
    })}
  </table>`
}

function names(services: readonly Service[]): string {
  return services.length === 0 ? '–' : services.map(({ name }) => name).join(', ')
}

function findings(services: readonly Service[]): Fragment {
  const found = lintContracts(services)
  return (
    found.length > 0 &&
    html`<h2>To look at</h2>
      <table>
        ${found.map(
          ({ level, rule, at, says }) =>
            html`<tr>
              <td class="${level}">${rule}</td>
              <td>${at}</td>
              <td>${says}</td>
            </tr>`,
        )}
      </table>`
  )
}

function details(contract: Contract): Html {
  const { why, owner, version, older, keyed, examples, deprecated } = contract.about
  const schema = contract.jsonSchema()
  const reads = older.length > 0 && html`, reads ${older.join(', ')} too`
  return html`<h2 id="${contract.type}">${contract.type}</h2>
    <p>
      ${why}
      <span class="soft"
        >Team ${owner}, destination ${contract.destination}, version ${version}${reads},
        ${keyed ? 'in order by key' : 'no order'}.</span
      >
    </p>
    ${deprecated !== undefined && html`<p class="warning">Deprecated since ${deprecated.since}, published until ${deprecated.until}${deprecated.instead !== undefined && html`; ${deprecated.instead} takes its place`}.</p>`}
    ${schema === null ? html`<p class="warning">Its schema library gives no JSON Schema.</p>` : properties(schema)}
    <pre>${JSON.stringify(examples[0], null, 2)}</pre>`
}

function properties(schema: JsonSchema): Html {
  return html`<table>
    <tr>
      <th scope="col">Property</th>
      <th scope="col">Type</th>
      <th scope="col"></th>
    </tr>
    ${rows(schema, '')}
  </table>`
}

const deepest = 5

function rows(schema: JsonSchema, prefix: string, depth = 0): readonly Html[] {
  const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
  return Object.entries((schema['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>).flatMap(
    ([name, each]) => {
      const inner = typeof each['items'] === 'object' ? (each['items'] as JsonSchema) : each
      const notes = [
        !required.includes(name) && 'may be missing',
        each['default'] !== undefined && `default ${JSON.stringify(each['default'])}`,
        typeof each['description'] === 'string' && each['description'],
      ].filter((note) => note !== false)
      const row = html`<tr>
        <td>${prefix}${name}</td>
        <td>${kindOf(each)}</td>
        <td class="soft">${notes.join(', ')}</td>
      </tr>`
      const below = depth < deepest ? rows(inner, `${prefix}${name}${inner === each ? '.' : '[].'}`, depth + 1) : []
      return [row, ...below]
    },
  )
}

function kindOf(schema: JsonSchema): string {
  if ('const' in schema) return JSON.stringify(schema['const'])
  if (Array.isArray(schema['enum'])) return schema['enum'].map((value) => JSON.stringify(value)).join(' | ')
  const either = schema['anyOf'] ?? schema['oneOf']
  if (Array.isArray(either)) return either.map((each) => kindOf(each as JsonSchema)).join(' | ')
  const { type, format, items } = schema
  if (type === 'array')
    return typeof items === 'object' && items !== null ? `list of ${kindOf(items as JsonSchema)}` : 'list'
  const kind = typeof type === 'string' ? type : Array.isArray(type) ? type.join(' | ') : 'any'
  return typeof format === 'string' ? `${kind} (${format})` : kind
}
