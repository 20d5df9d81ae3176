import { assets } from './assets.ts'
import { downloadPolicy, securityHeaders } from './security.ts'
import type { Download } from './visit.ts'

type More = Readonly<Record<string, string>>

export function pageResponse(text: string, status: number, more: More = {}): Response {
  return new Response(text, {
    status,
    headers: { ...securityHeaders, 'content-type': 'text/html; charset=utf-8', ...more },
  })
}

export function redirect(location: string, more: More = {}): Response {
  return new Response(null, { status: 303, headers: { ...securityHeaders, location, ...more } })
}

/** One of our two files; `undefined` for every other path. */
export function assetResponse(path: string): Response | undefined {
  const asset = Object.values(assets).find((each) => each.path === path)
  if (asset === undefined) return undefined
  return new Response(asset.text, {
    headers: {
      ...securityHeaders,
      'content-type': asset.type,
      'cache-control': 'public, max-age=31536000, immutable',
    },
  })
}

export function downloadResponse({ bytes, type, fileName }: Download): Response {
  return new Response(typeof bytes === 'string' ? bytes : new Uint8Array(bytes), {
    headers: {
      ...securityHeaders,
      'content-security-policy': downloadPolicy,
      'content-type': type,
      // Names are ours: letters, digits, dots and hyphens.
      'content-disposition': `attachment; filename="${fileName}"`,
    },
  })
}
