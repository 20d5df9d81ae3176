import { describe, expect, it } from 'vitest'
import { replaying, boring } from '../../src/testing/explorer/choosers.ts'
import { simulatedProcess } from '../../src/testing/world/process.ts'
import type { Deviation } from '../../src/testing/explorer/schedule.ts'
import { simulation } from '../../src/testing/world/simulation.ts'
import { ConnectionLostError } from '../../src/testing/world/task.ts'

function world(deviations: readonly Deviation[] = []) {
  const process = simulatedProcess('A')
  const sim = simulation({ chooser: deviations.length === 0 ? boring : replaying(deviations), record: true })
  return { sim, process, texts: () => sim.lines.map(({ text }) => text) }
}

describe('a simulation', () => {
  it('moves time only when nothing else can run, and then at once', async () => {
    const { sim, process } = world()
    const seen: number[] = []
    sim.after(process, 86_400_000, () => seen.push(sim.nowMs))
    sim.after(process, 5, () => seen.push(sim.nowMs))
    void sim.op(process, 'ask', () => 1).then(() => seen.push(sim.nowMs))
    await sim.run()
    expect(seen).toEqual([0, 5, 86_400_000])
  })

  it('waits for every microtask before it goes on, however long their chain', async () => {
    const { sim, process } = world()
    const order: string[] = []
    void sim
      .op(process, 'first', () => 1)
      .then(async () => {
        for (let i = 0; i < 1_000; i++) await Promise.resolve()
        order.push('the chain of the first')
      })
    void sim.op(process, 'second', () => order.push('second is carried out'))
    void sim.op(process, 'third', () => 1).then(() => order.push('third is answered'))
    await sim.run()
    expect(order).toEqual(['second is carried out', 'the chain of the first', 'third is answered'])
  })

  it('ends when only timers are left that keep no process alive', async () => {
    const { sim, process } = world()
    let ran = false
    sim.after(process, 10, () => (ran = true), { idle: true })
    await sim.run()
    expect({ ran, nowMs: sim.nowMs }).toEqual({ ran: false, nowMs: 0 })
  })

  it('calls a cancelled timer never', async () => {
    const { sim, process } = world()
    let ran = false
    sim.after(process, 10, () => (ran = true))()
    await sim.run()
    expect(ran).toBe(false)
  })

  it.for([
    ['is lost with its answer', 'lose-reply', 1],
    ['fails before it is carried out', 'fail', 0],
  ] as const)('has calls of which one %s', async ([, fault, carriedOut]) => {
    const { sim, process } = world([{ at: 'A.charge', do: fault }])
    let charges = 0
    const charged = sim.op(process, 'charge', () => void charges++).catch((error: unknown) => error)
    await sim.run()
    expect(await charged).toBeInstanceOf(ConnectionLostError)
    expect(charges).toBe(carriedOut)
  })

  it.for([
    ['before its call is carried out', 'crash', 'A.charge', 0],
    ['after its call was carried out', 'crash', 'A.charge⏎', 1],
    ['while its call is on the way', 'crash-after-send', 'A.charge', 1],
  ] as const)('lets a process die %s, and nothing of it goes on', async ([, fault, at, carriedOut]) => {
    const { sim, process } = world([{ at, do: fault }])
    let charges = 0
    let wentOn = false
    const goOn = () => (wentOn = true)
    void sim.op(process, 'charge', () => void charges++).then(goOn, goOn)
    sim.after(process, 10, goOn)
    await sim.run()
    expect({ charges, wentOn }).toEqual({ charges: carriedOut, wentOn: false })
  })

  it('lets a process stand still while the others go on', async () => {
    const { sim, process } = world([{ at: 'A.charge⏎', do: 'pause', ms: 31_000, steps: 0 }])
    const other = simulatedProcess('B')
    const done: string[] = []
    void sim.op(process, 'charge', () => 1).then(() => done.push(`A at ${sim.nowMs}`))
    sim.after(other, 10_000, () => done.push(`B at ${sim.nowMs}`))
    await sim.run()
    expect(done).toEqual(['B at 10000', 'A at 31000'])
  })

  it('names calls of one name apart, so that a schedule can mean one of them', async () => {
    const { sim, process } = world([{ at: 'A.charge#2', do: 'fail' }])
    const charged = [1, 2, 3].map(() =>
      sim.op(process, 'charge', () => 'done').catch((error: unknown) => (error instanceof Error ? error.message : '')),
    )
    await sim.run()
    expect(await Promise.all(charged)).toEqual(['done', 'charge: the connection was lost', 'done'])
  })

  it('stops what never ends', async () => {
    const { sim, process } = world()
    const again = async (): Promise<void> => sim.op(process, 'poll', () => 1).then(again)
    void again()
    await sim.run()
    expect(sim.violation).toEqual({ invariant: 'drained', text: 'still busy after 4000 steps' })
  })

  it('reports what a timer throws as the crash that it would be', async () => {
    const { sim, process } = world()
    sim.after(process, 1, () => {
      throw new Error('oops')
    })
    await sim.run()
    expect(sim.violation?.text).toBe('a timer of A threw Error: oops')
  })
})
