import { blocked, dead, done, nobody, type State, type Worker } from './state.ts'
import { die, effect, headOf, removeRow, rowOf, type World } from './world.ts'

/** What a parking worker may do. Its claims and lanes have the numbers above those of the consumers. */
export function workerSteps(world: World, index: number): void {
  const { state, size, plant } = world
  const self = state.workers[index]
  if (self === undefined) return
  const me = 1 + size.consumers + index
  const name = `worker ${index + 1}`
  const set = (next: State, more: Partial<Worker>): void => void Object.assign(next.workers[index] ?? {}, more)
  const idle = (next: State): void => set(next, { phase: 'idle', message: 0, seq: 0, tail: 0 })
  const { lane } = state
  const holds = lane?.holder === me

  if (self.phase === 'idle') {
    if (lane !== undefined && lane.holder !== blocked)
      world.may(`${name} takes the lane${lane.holder === nobody || holds ? '' : ', whose lease has ended'}`, (next) => {
        if (next.lane !== undefined) next.lane.holder = me
        set(next, { phase: 'load' })
      })
    return
  }
  if (state.left.crashes > 0)
    world.may(`${name} crashes`, (next) => {
      next.left.crashes--
      idle(next)
    })
  if (self.phase === 'load') {
    const head = headOf(state)
    if (!holds) world.may(`${name}: the lane is lost`, idle)
    else if (head === undefined)
      world.may(`${name} finds the lane empty`, (next) => set(next, { phase: 'freeing', tail: lane.tail }))
    else
      world.may(`${name} loads ${head.message}`, (next) =>
        set(next, { phase: 'claim', message: head.message, seq: head.seq }),
      )
  }
  if (self.phase === 'freeing')
    world.may(`${name} frees the lane${holds && lane.tail === self.tail ? '' : ': not any more'}`, (next) => {
      const mayFree = holds && (lane.tail === self.tail || plant === 'free-without-tail')
      if (mayFree) next.lane = undefined
      if (mayFree || !holds) idle(next)
      else set(next, { phase: 'load', tail: 0 })
    })
  if (self.phase === 'claim') claim(world, index, me)
  if (self.phase === 'running') running(world, index, me)
  if (self.phase === 'burying')
    world.may(`${name} sends the dead letter of ${self.message}`, (next) => {
      next.letters[self.message] = true
      if (!world.blocks) return set(next, { phase: 'removing' })
      if (holds && next.lane !== undefined) next.lane.holder = blocked
      idle(next)
    })
  if (self.phase === 'removing')
    world.may(`${name} removes ${self.message}`, (next) => {
      removeRow(next, self, plant === 'remove-by-place')
      set(next, { phase: 'load', message: 0, seq: 0 })
    })
}

function claim(world: World, index: number, me: number): void {
  const { state, plant } = world
  const self = state.workers[index]
  if (self === undefined) return
  const { message } = self
  const name = `worker ${index + 1}`
  const set = (next: State, more: Partial<Worker>): void => void Object.assign(next.workers[index] ?? {}, more)
  const known = state.claims[message] ?? nobody
  if (known === done)
    return world.may(`${name}: ${message} is done already`, (next) => set(next, { phase: 'removing' }))
  if (known === dead && state.permitted[message] !== true)
    return world.may(`${name}: ${message} failed before`, (next) => set(next, { phase: 'burying' }))
  if (state.lane?.holder !== me && plant !== 'worker-unfenced')
    return world.may(`${name}: refused, the lane is lost`, (next) => set(next, { phase: 'idle', message: 0, seq: 0 }))
  world.may(`${name} claims ${message}`, (next) => {
    next.claims[message] = me
    next.permitted[message] = false
    set(next, { phase: 'running' })
  })
}

function running(world: World, index: number, me: number): void {
  const { state, plant, blocks } = world
  const self = state.workers[index]
  if (self === undefined) return
  const { message } = self
  const name = `worker ${index + 1}`
  const set = (next: State, more: Partial<Worker>): void => void Object.assign(next.workers[index] ?? {}, more)
  const giveBack = (next: State): void => {
    if (next.lane?.holder === me) next.lane.holder = nobody
    set(next, { phase: 'idle', message: 0, seq: 0 })
  }
  const holds = state.claims[message] === me
  const completes =
    (holds && rowOf(state, message) !== undefined) ||
    plant === 'worker-unfenced' ||
    (holds && plant === 'remove-by-place')
  world.may(`${name} completes ${message}${completes ? '' : ': lost'}`, (next) => {
    if (!completes) return giveBack(next)
    const broken = effect(next, message, blocks)
    next.claims[message] = done
    removeRow(next, self, plant === 'remove-by-place')
    set(next, { phase: 'load', message: 0, seq: 0 })
    return broken
  })
  if (state.left.waits > 0)
    world.may(`${message} has to wait again`, (next) => {
      next.left.waits--
      if (holds) next.claims[message] = nobody
      giveBack(next)
    })
  if (state.left.deaths > 0 && holds)
    world.may(`${message} fails for good`, (next) => {
      die(next, message, { blocks: false, plant })
      set(next, { phase: 'burying' })
    })
}
