import { decoded } from './support.ts'

/** As much of a page's tree as a test of its structure needs. The pages are well-formed: every tag that opens is closed. */
export class Node {
  readonly tag: string
  readonly attributes: ReadonlyMap<string, string>
  readonly parent: Node | undefined
  readonly children: (Node | string)[] = []

  constructor(tag: string, attributes: ReadonlyMap<string, string>, parent: Node | undefined) {
    this.tag = tag
    this.attributes = attributes
    this.parent = parent
  }

  get(name: string): string | undefined {
    return this.attributes.get(name)
  }

  get text(): string {
    return this.children
      .map((child) => (typeof child === 'string' ? child : child.text))
      .join('')
      .replace(/\s+/g, ' ')
      .trim()
  }

  /** What a screen reader calls it, if it is no field. */
  get name(): string {
    return this.get('aria-label') ?? this.text
  }

  /** In the order of the page, without itself. */
  get all(): readonly Node[] {
    return this.children.flatMap((child) => (typeof child === 'string' ? [] : [child, ...child.all]))
  }

  find(...tags: readonly string[]): readonly Node[] {
    return this.all.filter(({ tag }) => tags.includes(tag))
  }

  within(tag: string): boolean {
    return this.parent !== undefined && (this.parent.tag === tag || this.parent.within(tag))
  }
}

const isVoid = new Set(['meta', 'link', 'input', 'br', 'hr', 'wbr', 'img'])
const token = /<!doctype html>|<\/([a-z\d]+)\s*>|<([a-z\d]+)((?:\s+[a-z-]+(?:="[^"]*")?)*)\s*\/?>|([^<]+)/giy

export function treeOf(page: string): Node {
  const root = new Node('#page', new Map(), undefined)
  let at = root
  token.lastIndex = 0
  while (token.lastIndex < page.length) {
    const from = token.lastIndex
    const found = token.exec(page)
    if (found === null) throw new Error(`no markup at ${from}: ${page.slice(from, from + 80)}`)
    const [, closes, opens, attributes = '', text] = found
    if (text !== undefined) at.children.push(decoded(text))
    else if (closes !== undefined) {
      if (at.tag !== closes) throw new Error(`</${closes}> closes <${at.tag}>: ${page.slice(from - 80, from + 20)}`)
      at = at.parent ?? root
    } else if (opens !== undefined) {
      const pairs = [...attributes.matchAll(/([a-z-]+)(?:="([^"]*)")?/g)]
      const names = pairs.map(([, name = '']) => name)
      if (new Set(names).size !== names.length) throw new Error(`an attribute twice in <${opens}${attributes}>`)
      const node = new Node(opens, new Map(pairs.map(([, name = '', value = '']) => [name, decoded(value)])), at)
      at.children.push(node)
      if (!isVoid.has(opens)) at = node
    }
  }
  if (at !== root) throw new Error(`<${at.tag}> is never closed`)
  return root
}
