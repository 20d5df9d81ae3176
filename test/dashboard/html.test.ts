import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { escapeText } from '../../src/dashboard/escape.ts'
import { breakable, cut, exact, html } from '../../src/dashboard/html.ts'
import { decoded } from './support.ts'

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', '`', '\0', '\u202e', '\ud800', 'a', '/', '-', ';') }),
)
const invisible = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/

describe('html', () => {
  it('D-23 lets no value become markup, end an attribute, or turn the order of text round', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        for (const each of [html`${text}`, html`${[text]}`, cut(text, 5), breakable(text)]) {
          const ours = each.text
            .replaceAll('<wbr>', '')
            .replaceAll(/<span class="dim">… [\d,]+ characters<\/span>/g, '')
          expect(ours).not.toMatch(/[<>"'`]/)
          expect(ours).not.toMatch(invisible)
          expect(ours.isWellFormed()).toBe(true)
        }
      }),
    )
  })

  it('brings back the value of a field as it was', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(exact(text).text).not.toMatch(/[<>"'`]/)
        expect(decoded(exact(text).text)).toBe(text.toWellFormed())
      }),
    )
  })

  it('keeps markup of its own, and leaves nothing of what is absent', () => {
    expect(html`<p>${html`<b>${'<i>'}</b>`}${null}${undefined}${false}${0}${[1, '&']}</p>`.text).toBe(
      '<p><b>&lt;i&gt;</b>01&amp;</p>',
    )
    expect(escapeText('a\u202eb\0\u{e0041}\ud800')).toBe('a\\u202eb\\u0000\\u{e0041}\\ud800')
  })

  it('has no value in an attribute without quotes, in a script, in a style, or in a handler', () => {
    const folder = join(import.meta.dirname, '../../src/dashboard')
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
    expect(files.length).toBeGreaterThan(20)
    for (const name of files) {
      const source = readFileSync(join(folder, name), 'utf8')
      expect(source.match(/\s(?:href|src|action|formaction|value|name|id|class|for)=\$\{/g), name).toBeNull()
      expect(source.match(/<[a-z]+[^>]*\son\w+=|\sstyle="|srcdoc|javascript:/g), name).toBeNull()
      // Markup is made in one file.
      if (name !== 'html.ts') expect(source, name).not.toContain('new Html(')
    }
  })
})
