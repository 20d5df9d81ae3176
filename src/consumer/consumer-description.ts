import type { Description } from '../core/describe.ts'
import { featureNames, type Features } from './features.ts'

/** What a consumer promises: its pipeline's description, and what its broker can do. */
export interface ConsumerDescription {
  /** The system and the group. */
  readonly name: string
  readonly pipeline: Description
  readonly features: Features | undefined
  /** The whole description as text. */
  toString(): string
}

export function describeConsumer(
  name: string,
  pipeline: Description,
  features: Features | undefined,
): ConsumerDescription {
  return { name, pipeline, features, toString: () => [name, ...rows(features), '', String(pipeline)].join('\n') }
}

function rows(features: Features | undefined): readonly string[] {
  if (features === undefined) return []
  const names = Object.keys(featureNames) as (keyof Features)[]
  const longest = Math.max(...names.map((name) => featureNames[name].length))
  return names.map((name) => `  ${featureNames[name].padEnd(longest)}  ${features[name].how}`)
}
