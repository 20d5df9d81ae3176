import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChildSignal, whenAborted } from '../../src/core/signals.ts'

describe('ChildSignal', () => {
  it('aborts when its parent does, with the same reason', () => {
    const parent = new AbortController()
    const children = [1, 2, 3].map(() => new ChildSignal(parent.signal))
    const reason = new Error('shutdown')
    parent.abort(reason)
    for (const { signal } of children) expect([signal.aborted, signal.reason]).toEqual([true, reason])
  })

  it('is aborted from the start where its parent is', () => {
    const reason = new Error('shutdown')
    const { signal } = new ChildSignal(AbortSignal.abort(reason))
    expect([signal.aborted, signal.reason]).toEqual([true, reason])
  })

  it('aborts alone', () => {
    const parent = new AbortController()
    const [one, other] = [new ChildSignal(parent.signal), new ChildSignal(parent.signal)]
    one.abort('mine')
    expect([one.signal.aborted, other.signal.aborted, parent.signal.aborted]).toEqual([true, false, false])
    parent.abort('theirs')
    expect([one.signal.reason, other.signal.reason]).toEqual(['mine', 'theirs'])
  })

  it('is forgotten when its work has ended', () => {
    const parent = new AbortController()
    const child = new ChildSignal(parent.signal)
    child.end()
    child.end()
    parent.abort()
    expect(child.signal.aborted).toBe(false)
  })

  it('puts one listener on a parent, however many children there are, and none on a parent that is a child', () => {
    const parent = new AbortController()
    let listeners = 0
    const add = parent.signal.addEventListener.bind(parent.signal)
    const counted = Object.assign(parent.signal, {
      addEventListener: (...args: Parameters<typeof add>) => {
        listeners++
        add(...args)
      },
    })
    const children = Array.from({ length: 100 }, () => new ChildSignal(counted))
    const grandchildren = children.map(({ signal }) => new ChildSignal(signal))
    expect(listeners).toBe(1)
    parent.abort('all')
    for (const { signal } of grandchildren) expect(signal.reason).toBe('all')
  })

  it('lets a child come and go while the others are told', () => {
    const parent = new AbortController()
    const first = new ChildSignal(parent.signal)
    const second = new ChildSignal(parent.signal)
    let born: ChildSignal | undefined
    first.signal.addEventListener('abort', () => {
      second.end()
      born = new ChildSignal(parent.signal)
    })
    const third = new ChildSignal(parent.signal)
    parent.abort('all')
    expect([second.signal.aborted, third.signal.aborted, born?.signal.aborted]).toEqual([false, true, true])
  })

  it('in a tree of any shape, exactly what hangs on an aborted signal is aborted', () => {
    const step = fc.record({ what: fc.constantFrom('grow', 'abort', 'end'), at: fc.nat() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        interface Node {
          readonly signal: AbortSignal
          readonly parent: Node | undefined
          readonly child: ChildSignal | undefined
          aborted: boolean
          ended: boolean
        }
        const root = new AbortController()
        const nodes: Node[] = [
          { signal: root.signal, parent: undefined, child: undefined, aborted: false, ended: false },
        ]
        const spread = (from: Node): void => {
          from.aborted = true
          for (const node of nodes) if (node.parent === from && !node.ended && !node.aborted) spread(node)
        }
        for (const { what, at } of steps) {
          const node = nodes[at % nodes.length]
          if (node === undefined) continue
          if (what === 'grow') {
            const child = new ChildSignal(node.signal)
            nodes.push({ signal: child.signal, parent: node, child, aborted: node.aborted, ended: false })
          } else if (what === 'abort' && !node.aborted) {
            if (node.child === undefined) root.abort()
            else node.child.abort('x')
            spread(node)
          } else if (what === 'end' && node.child !== undefined) {
            node.child.end()
            node.ended = true
          }
          for (const each of nodes) expect(each.signal.aborted).toBe(each.aborted)
        }
      }),
    )
  })
})

describe('whenAborted()', () => {
  it('calls back once, with the reason, unless that was ended before', () => {
    const parent = new AbortController()
    const seen: string[] = []
    whenAborted(parent.signal, (reason) => seen.push(`kept: ${String(reason)}`))
    const end = whenAborted(parent.signal, () => seen.push('ended'))
    end()
    parent.abort('now')
    end()
    expect(seen).toEqual(['kept: now'])
  })

  it('hears of a child signal too, and nothing of one that is aborted already', () => {
    const child = new ChildSignal(new AbortController().signal)
    const seen: unknown[] = []
    whenAborted(child.signal, (reason) => seen.push(reason))
    child.abort('mine')
    whenAborted(child.signal, (reason) => seen.push(reason))
    expect(seen).toEqual(['mine'])
  })
})
