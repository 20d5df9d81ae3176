export { resilienceMatchers, type MatcherResult, type ResilienceMatchers } from './matchers.ts'
