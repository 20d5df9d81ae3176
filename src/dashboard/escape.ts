// Control, format and filler characters: they print nothing, turn the order of text round, or hide in an id.
const invisible =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
}

/** Text for people: what cannot be seen is written as its code, so that no id reads as another. */
export function escapeText(text: string): string {
  return escapeMarkup(text.replace(invisible, codeOf))
}

/** Text for machines, such as the value of a field: nothing of it changes but what would be markup. */
export function escapeMarkup(text: string): string {
  return text.replace(/[&<>"'`]/g, (found) => entities[found] ?? '')
}

function codeOf(found: string): string {
  const code = (found.codePointAt(0) ?? 0).toString(16)
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`
}
