import { dead, done, nobody, type Consumer, type State } from './state.ts'
import { addRow, die, effect, isFinal, rowOf, startOver, type World } from './world.ts'

/** What a consumer of the key's partition may do. Its claims have the number 1 and above. */
export function consumerSteps(world: World, index: number): void {
  const { state, size } = world
  const self = state.consumers[index]
  if (self === undefined) return
  const me = 1 + index
  const name = `consumer ${me}`
  const mine = (next: State): Consumer => next.consumers[index] ?? self
  const message = size.log[self.at]
  const ack = (next: State): void => {
    mine(next).phase = 'ready'
    mine(next).at++
  }

  if (state.owner !== index)
    world.may(`${name} gets the partition`, (next) => {
      next.owner = index
      // What it remembers of lanes it keeps: a hint must do no harm.
      startOver(mine(next))
    })
  if (self.phase !== 'idle' && state.left.crashes > 0)
    world.may(`${name} crashes`, (next) => {
      next.left.crashes--
      startOver(mine(next))
      mine(next).believesParked = false
    })
  if (self.phase === 'idle') {
    if (state.owner === index)
      world.may(`${name} starts at the committed offset`, (next) => {
        mine(next).phase = 'ready'
        mine(next).at = next.committed
      })
    return
  }
  if (state.owner === index && self.at > state.committed)
    world.may(`${name} commits ${self.at}`, (next) => void (next.committed = self.at))
  if (message === undefined) return
  if (self.phase === 'ready') ready(world, index, message, ack)
  if (self.phase === 'append') append(world, index, message, ack)
  if (self.phase === 'append-late')
    world.may(`${name} appends ${message}, which it looked for before`, (next) => {
      const lane = (next.lane ?? { tail: 0 }).tail + 1
      if (next.lane !== undefined) next.lane.tail = lane
      if (!isFinal(next.claims[message]) && rowOf(next, message) === undefined) next.rows.push({ seq: lane, message })
      ack(next)
    })
  if (self.phase === 'running') running(world, index, message, ack)
  if (self.phase === 'parking') park(world, index, message, ack)
  if (self.phase === 'parking-late')
    world.may(`${name} adds the row of ${message} to the lane that it saw`, (next) => {
      if (rowOf(next, message) === undefined) next.rows.push({ seq: (next.lane?.tail ?? 0) + 1, message })
      if (next.claims[message] === me) next.claims[message] = nobody
      ack(next)
    })
  if (self.phase === 'burying')
    world.may(`${name} sends the dead letter of ${message}`, (next) => {
      next.letters[message] = true
      ack(next)
    })
}

/** The claim: what is known is told first, then whether the lane is parked. */
function ready(world: World, index: number, message: number, ack: (next: State) => void): void {
  const { state, plant } = world
  const me = 1 + index
  const claim = state.claims[message] ?? nobody
  const believes = state.consumers[index]?.believesParked === true
  const set = (next: State, phase: Consumer['phase']): void => {
    const self = next.consumers[index]
    if (self !== undefined) self.phase = phase
  }
  if (believes) return world.may(`consumer ${me} believes the lane of ${message} parked`, (next) => set(next, 'append'))
  if (claim === done) return world.may(`consumer ${me}: ${message} is a duplicate`, ack)
  if (claim === dead) return world.may(`consumer ${me}: ${message} failed before`, (next) => set(next, 'burying'))
  const asks = plant !== 'stale-set' && plant !== 'claim-unchecked'
  if (asks && state.lane !== undefined)
    return world.may(`consumer ${me}: the lane of ${message} is parked`, (next) => set(next, 'append'))
  const taken = claim !== nobody && claim !== me ? ', whose lease has ended,' : ''
  world.may(`consumer ${me} claims ${message}${taken}`, (next) => {
    next.claims[message] = me
    set(next, 'running')
  })
}

function append(world: World, index: number, message: number, ack: (next: State) => void): void {
  const { state, plant, blocks } = world
  const name = `consumer ${1 + index}`
  const believe = (next: State, phase: Consumer['phase'], parked: boolean): void => {
    const self = next.consumers[index]
    if (self === undefined) return
    self.phase = phase
    self.believesParked = parked
  }
  if (state.lane === undefined) return world.may(`${name} finds the lane gone`, (next) => believe(next, 'ready', false))
  if (plant === 'append-apart')
    return world.may(`${name} looks: the lane of ${message} is parked`, (next) => believe(next, 'append-late', true))
  const claim = state.claims[message] ?? nobody
  if (rowOf(state, message) !== undefined) {
    // Its letter may not be confirmed: the claim has to say so.
    const toClaim = blocks && claim === dead && plant !== 'append-known-dead'
    return world.may(`${name}: ${message} is parked already`, (next) =>
      toClaim ? believe(next, 'ready', false) : ack(next),
    )
  }
  if (isFinal(claim))
    return world.may(`${name}: the claim of ${message} knows more`, (next) => believe(next, 'ready', false))
  const fences = plant !== 'append-unfenced'
  // A live claim is waited for: until its lease has ended, or its message is settled.
  world.may(`${name} appends ${message}`, (next) => {
    if (fences) next.claims[message] = nobody
    addRow(next, message)
    believe(next, 'ready', true)
    ack(next)
  })
  appendRun(world, index, message, ack)
}

/** Those that are behind it come with it in one statement, up to the first that its claim has to answer. */
function appendRun(world: World, index: number, message: number, ack: (next: State) => void): void {
  const { state, plant, size } = world
  const me = 1 + index
  const run = size.log.slice(state.consumers[index]?.at)
  if (run.length < 2) return
  const put = (next: State, each: number): boolean => {
    if (rowOf(next, each) !== undefined) return next.claims[each] !== dead
    if (isFinal(next.claims[each])) return false
    if (plant !== 'append-unfenced') next.claims[each] = nobody
    addRow(next, each)
    return true
  }
  const believe = (next: State): void => {
    const self = next.consumers[index]
    if (self !== undefined) Object.assign(self, { phase: 'ready', believesParked: true })
  }
  world.may(`consumer ${me} appends ${run.join(', ')} in one run`, (next) => {
    believe(next)
    for (const each of run) {
      if (!put(next, each)) break
      ack(next)
    }
  })
  const claim = state.claims[message] ?? nobody
  if (plant === 'run-past-claim' && claim !== nobody && claim !== me)
    world.may(`consumer ${me} appends what is behind ${message}, which another holds`, (next) => {
      believe(next)
      for (const each of run.slice(1)) put(next, each)
    })
}

function running(world: World, index: number, message: number, ack: (next: State) => void): void {
  const { state } = world
  const me = 1 + index
  const holds = state.claims[message] === me
  const self = (next: State): Consumer | undefined => next.consumers[index]
  const go = (next: State, phase: Consumer['phase']): void => {
    const own = self(next)
    if (own !== undefined) own.phase = phase
  }
  world.may(`consumer ${me} completes ${message}${holds ? '' : ': lost'}`, (next) => {
    if (!holds) return go(next, 'ready')
    const broken = effect(next, message, world.blocks)
    next.claims[message] = done
    ack(next)
    return broken
  })
  if (state.left.waits > 0)
    world.may(`${message} has to wait`, (next) => {
      next.left.waits--
      go(next, 'parking')
    })
  if (state.left.deaths > 0 && holds)
    world.may(`${message} fails for good`, (next) => {
      die(next, message, world)
      go(next, 'burying')
      const own = self(next)
      if (own !== undefined && next.lane !== undefined) own.believesParked = true
    })
}

function park(world: World, index: number, message: number, ack: (next: State) => void): void {
  const { state, plant } = world
  const me = 1 + index
  const holds = state.claims[message] === me
  const go = (next: State, phase: Consumer['phase']): void => {
    const own = next.consumers[index]
    if (own !== undefined) own.phase = phase
  }
  if (plant === 'park-without-lock' && state.lane !== undefined && holds)
    return world.may(`consumer ${me} sees the lane of ${message}, and does not lock it`, (next) =>
      go(next, 'parking-late'),
    )
  world.may(`consumer ${me} parks ${message}${holds ? '' : ': lost'}`, (next) => {
    if (!holds) return go(next, 'ready')
    addRow(next, message)
    next.claims[message] = nobody
    const own = next.consumers[index]
    if (own !== undefined) own.believesParked = true
    ack(next)
  })
}
