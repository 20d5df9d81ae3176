import { createHash } from 'node:crypto'
import { script } from './script.ts'
import { style } from './style.ts'

const version = createHash('sha256').update(style).update(script).digest('hex').slice(0, 12)

interface Asset {
  readonly path: string
  readonly type: string
  readonly text: string
}

/** The only files of the page. Their names change with what they hold, so they may be kept for ever. */
export const assets: { readonly style: Asset; readonly script: Asset } = {
  style: { path: `assets/${version}.css`, type: 'text/css; charset=utf-8', text: style },
  script: { path: `assets/${version}.js`, type: 'text/javascript; charset=utf-8', text: script },
}
