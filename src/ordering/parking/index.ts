export { delayed, parking, type DelayedOptions, type ParkingOptions } from './parking.ts'
export { parkingWorker, type ParkingWorker, type ParkingWorkerOptions } from './worker.ts'
export {
  type Appended,
  type AppendRequest,
  type LaneLease,
  type LaneName,
  type LanePage,
  type LanesRequest,
  type Packed,
  type ParkedName,
  type ParkedRow,
  type ParkingStatus,
  type ParkingStore,
  type ParkRequest,
  type RejoinRequest,
  type WaitingHead,
} from './store.ts'
