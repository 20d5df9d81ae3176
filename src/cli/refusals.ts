import { isHoldfastError } from '../core/errors.ts'
import { exits, Stop } from './exit.ts'
import { printable } from './terminal.ts'

/** What a function of the config file refuses, and what it cannot reach, each as one line and its exit code. */
export async function refusals<Report>(work: Promise<Report>): Promise<Report> {
  try {
    return await work
  } catch (error) {
    if (isHoldfastError(error) && error.code === 'bad-order') throw new Stop(exits.refused, printable(error.message))
    if (isHoldfastError(error) && error.code === 'unavailable')
      throw new Stop(exits.unavailable, printable(error.message))
    throw error
  }
}
