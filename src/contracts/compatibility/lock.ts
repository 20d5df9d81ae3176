import { headersFrom } from '../../core/message.ts'
import { textOf } from '../../core/errors.ts'
import { versionHeader, type Contract } from '../contract.ts'
import type { JsonSchema } from '../schema.ts'
import { misfits } from './misfits.ts'

/**
 * Which changes of one version are allowed. `backward`: new readers take what old writers send. `forward`: old readers take
 * what new writers send. `full`: both.
 */
export type Compatibility = 'backward' | 'forward' | 'full' | 'none'

/** What was written down of each contract, to be committed and reviewed: `contracts.lock.json`. */
export type ContractLock = Readonly<Record<string, LockedContract>>

export interface LockedContract {
  readonly compatibility: Compatibility
  readonly versions: Readonly<Record<string, LockedVersion>>
}

export interface LockedVersion {
  readonly schema: JsonSchema | null
  readonly examples: readonly unknown[]
}

export interface Breach {
  /** The type, or the type and the version. */
  readonly at: string
  readonly rule: 'new' | 'gone' | 'version' | 'example' | 'backward' | 'forward'
  readonly says: string
  /** False where two schemas cannot be compared. */
  readonly sure: boolean
}

/** The lock after today's contracts are written down. Older versions, and how strict each contract is, are kept. */
export function lockContracts(contracts: readonly Contract[], before: ContractLock = {}): ContractLock {
  return Object.fromEntries(
    contracts.map((contract) => {
      const { version, examples } = contract.about
      const was = before[contract.type]
      const versions = { ...was?.versions, [version]: { schema: contract.jsonSchema(), examples } }
      return [contract.type, { compatibility: was?.compatibility ?? 'full', versions }]
    }),
  )
}

/**
 * Compares the contracts of the code with what was written down. The schema of one version may change only so that everybody who
 * has it can read everybody else. Every example that was written down, of every version, must still decode.
 */
export async function checkContracts(contracts: readonly Contract[], lock: ContractLock): Promise<readonly Breach[]> {
  const found = await Promise.all(contracts.map((contract) => check(contract, lock[contract.type])))
  const types = new Set(contracts.map(({ type }) => type))
  const gone = Object.keys(lock)
    .filter((type) => !types.has(type))
    .map((type): Breach => ({ at: type, rule: 'gone', says: 'is in the lock and not in the code', sure: true }))
  return [...found.flat(), ...gone]
}

async function check(contract: Contract, locked: LockedContract | undefined): Promise<readonly Breach[]> {
  const { type, about } = contract
  if (locked === undefined)
    return [{ at: type, rule: 'new', says: 'is not in the lock: holdfast contracts write', sure: true }]
  const newest = Math.max(...Object.keys(locked.versions).map(Number))
  const behind: Breach[] =
    about.version < newest
      ? [
          {
            at: type,
            rule: 'version',
            says: `the lock has version ${newest}, the code has ${about.version}`,
            sure: true,
          },
        ]
      : []
  const examples = await Promise.all(
    Object.entries(locked.versions).flatMap(([version, { examples }]) =>
      examples.map((example) => unreadable(contract, version, example)),
    ),
  )
  return [...behind, ...changed(contract, locked), ...examples.flat()]
}

function changed(contract: Contract, { compatibility, versions }: LockedContract): readonly Breach[] {
  const { version } = contract.about
  const [was, now] = [versions[version]?.schema, contract.jsonSchema()]
  if (was === undefined || was === null || now === null) return []
  const found: Breach[] = []
  const compare = (rule: 'backward' | 'forward', writer: JsonSchema, reader: JsonSchema): void => {
    if (compatibility !== rule && compatibility !== 'full') return
    for (const { path, says, sure } of misfits(writer, reader))
      found.push({ at: `${contract.type}@${version}`, rule, says: `${path} ${says}`, sure })
  }
  compare('backward', was, now)
  compare('forward', now, was)
  return found
}

async function unreadable(contract: Contract, version: string, example: unknown): Promise<readonly Breach[]> {
  try {
    await contract.decode(Buffer.from(JSON.stringify(example)), headersFrom([[versionHeader, version]]))
    return []
  } catch (error) {
    const says = `an example can no longer be read: ${textOf(error).errorMessage}`
    return [{ at: `${contract.type}@${version}`, rule: 'example', says, sure: true }]
  }
}
