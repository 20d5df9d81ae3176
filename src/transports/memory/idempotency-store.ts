import { systemClock } from '../../core/clock.ts'
import {
  memoryIdempotencyStore as memoryClaims,
  type MemoryIdempotencyStoreOptions,
} from '../../idempotency/memory-store.ts'
import type { ResultStore } from '../../idempotency/remember/store.ts'
import { MemoryLanes } from '../../ordering/parking/memory-lanes.ts'
import type { ParkingStore } from '../../ordering/parking/store.ts'

/**
 * Keeps claims, and what is parked, in this process. For tests, demos and single processes that may lose all keys on
 * restart: messages that were parked are lost with them.
 */
export function memoryIdempotencyStore(options: MemoryIdempotencyStoreOptions = {}): ResultStore & ParkingStore {
  const claims = memoryClaims(options)
  const lanes = new MemoryLanes(claims, options.clock ?? systemClock)
  return {
    ...claims,
    park: (request) => lanes.park(request),
    append: (run) => lanes.append(run),
    rejoin: (request) => lanes.rejoin(request),
    claimLanes: (request) => lanes.claimLanes(request),
    renewLanes: (leases, leaseMs) => lanes.renewLanes(leases, leaseMs),
    load: (lease, limit) => lanes.load(lease, limit),
    remove: (rows) => lanes.remove(rows),
    free: (lease, tail) => lanes.free(lease, tail),
    reschedule: (lease, afterMs, head) => lanes.reschedule(lease, afterMs, head),
    countLanes: (pipeline, most) => lanes.countLanes(pipeline, most),
    status: (pipeline) => lanes.status(pipeline),
    claim(request, call) {
      if (request.lane === undefined || !lanes.refuses(request.lane) || call?.signal?.aborted === true)
        return claims.claim(request, call)
      const known = claims.known(request)
      // Who holds the claim does not matter here: the message waits behind what is parked.
      return Promise.resolve(known === undefined || known.state === 'in-progress' ? { state: 'parked' } : known)
    },
  }
}
