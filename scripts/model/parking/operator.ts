import { blocked, dead, done, nobody } from './state.ts'
import { addRow, headOf, removeRow, rowOf, type World } from './world.ts'

/** What operators and the cleaner may do. */
export function operatorSteps(world: World): void {
  const { state, plant, blocks, size } = world
  const head = headOf(state)
  if (state.left.acts > 0 && blocks && head !== undefined && state.lane?.holder === blocked) {
    world.may(`the operator sends the blocked head ${head.message} again`, (next) => {
      next.left.acts--
      next.permitted[head.message] = true
      if (plant === 'redrive-next-to-lane') removeRow(next, head, false)
      if (next.lane !== undefined) next.lane.holder = nobody
    })
    world.may(`the operator drops the blocked head ${head.message}`, (next) => {
      next.left.acts--
      next.exempt[head.message] = true
      removeRow(next, head, false)
      if (plant !== 'drop-without-wake' && next.lane !== undefined) next.lane.holder = nobody
    })
  }
  if (state.left.acts > 0 && !blocks)
    for (let message = 1; message < state.claims.length; message++)
      if (state.claims[message] === dead && rowOf(state, message) === undefined)
        world.may(`the operator redrives the letter of ${message}`, (next) => {
          next.left.acts--
          next.permitted[message] = true
          next.exempt[message] = true
          addRow(next, message)
        })
  if (state.left.cleanups > 0)
    for (let message = 1; message < state.claims.length; message++) {
      const passed = state.committed > size.log.lastIndexOf(message)
      const inHand = state.consumers.some(({ phase, at }) => phase !== 'idle' && at <= size.log.lastIndexOf(message))
      const mayClean = plant === 'append-unfenced' || rowOf(state, message) === undefined
      if (state.claims[message] === done && passed && !inHand && mayClean)
        world.may(`the record of ${message} is cleaned up`, (next) => {
          next.left.cleanups--
          next.claims[message] = nobody
        })
    }
}
