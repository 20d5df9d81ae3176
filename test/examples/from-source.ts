import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'
import { publishedSources } from '../support/published-sources.ts'

// Preloaded into an example that a test runs: the published names lead to the source, so that no build is needed.
registerHooks({
  resolve(specifier, context, nextResolve) {
    const source = publishedSources[specifier]
    return nextResolve(source === undefined ? specifier : pathToFileURL(source).href, context)
  },
})
