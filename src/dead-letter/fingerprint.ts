/** Which rules made a fingerprint; letters of older rules are regrouped. */
export const fingerprintVersion = 1

export interface FailedWith {
  readonly pipeline: string
  readonly errorName: string
  readonly errorCode: string | null
  readonly errorMessage: string
}

/** What letters of one group have in common: 64 bits over pipeline, error name, code and the shape of the message. */
export function fingerprintOf({ pipeline, errorName, errorCode, errorMessage }: FailedWith): string {
  const parts = [pipeline, errorName, errorCode ?? '', shapeOf(errorMessage)]
  const text = parts.map((part) => `${part.length}:${part}`).join('')
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256').update(text)
  return `${fingerprintVersion}-${hash.digest('hex').slice(0, 16)}`
}

// The most specific first. No rule has a nested quantifier: each is linear in a text whose length is bounded.
const instances: readonly (readonly [RegExp, string])[] = [
  [/\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]{5,}/g, '<token>'],
  [/[\p{L}\p{N}_.+%-]{1,64}@[\p{L}\p{N}_-]{1,63}(?:\.[\p{L}\p{N}_-]{2,63}){1,4}/gu, '<email>'],
  // topic/partition/offset: an id of ours.
  [/\b[\w.-]{1,249}\/\d{1,6}\/\d{1,19}\b/g, '<id>'],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, '<id>'],
  [/\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?/g, '<time>'],
  [/\b\d{1,3}(?:\.\d{1,3}){3}\b/g, '<ip>'],
  [/\b[0-9a-f]{0,4}(?:::?[0-9a-f]{1,4}){2,8}\b/gi, '<ip>'],
  [/\?[^\s"')\]]{1,512}/g, '?<query>'],
]
const quoted = /"([^"\n]{0,200})"|'([^'\n]{0,200})'|`([^`\n]{0,200})`/g
const identifier = /^[\p{L}_$<>/][\p{L}_$.<>/:-]{0,60}(?:_?\d)?$/u
const word = /[\p{L}\p{N}_$][\p{L}\p{N}_$-]*/gu
const wellKnownPorts = new Set([
  ...['22', '25', '53', '80', '443', '465', '587', '636', '1433', '1521', '2181', '3306', '4222', '4317', '4318'],
  ...['5432', '5671', '5672', '6379', '6432', '6650', '8080', '8443', '9042', '9092', '9093', '9200', '11211'],
  ...['27017', '50051', '61616'],
])

/** What stays of an error's message when all that names one instance is gone: ids, times, addresses, amounts, values. */
export function shapeOf(message: string): string {
  let text = message.slice(0, 2048).normalize('NFC')
  for (const [pattern, placeholder] of instances) text = text.replace(pattern, placeholder)
  return text
    .replace(quoted, quotedShape)
    .replace(word, wordShape)
    .replace(/-?<n>(?:[.,]<n>)*/g, '<n>')
    .replace(/(?:\/<(?:n|id)>)+/g, '/<id>')
    .replace(/<n>/g, '<id>')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/(<id>[ ,;|]{0,2}){2,}/g, '<id> ')
    .slice(0, 300)
    .trim()
}

/** A quoted identifier says what is wrong, a quoted value says with which instance. */
function quotedShape(all: string, double?: string, single?: string, back?: string): string {
  const inner = double ?? single ?? back ?? ''
  const kept =
    inner.length <= 1 || (identifier.test(inner) && !looksRandom(inner)) || /^(?:\/|[a-z]+:\/\/)/i.test(inner)
  return kept ? all : `${all.charAt(0)}<id>${all.charAt(0)}`
}

/** A word with a digit is a value, unless it is a status, a port, a code at the beginning or part of a name. */
function wordShape(found: string, at: number, whole: string): string {
  if (!/\p{N}/u.test(found)) return looksRandom(found) ? '<id>' : found
  const before = whole.slice(Math.max(0, at - 16), at)
  if (/^[1-5]\d\d$/.test(found) && /(?:status|code|HTTP(?:\/\d(?:\.\d)?)?)[ :=(]{1,3}$/i.test(before)) return found
  if (/^\d{2,5}$/.test(found) && before.endsWith('<ip>:')) return wellKnownPorts.has(found) ? found : '<n>'
  if (/^[A-Z]\d{4,5}$/.test(found) && at === 0) return found
  if (/^[a-z]+\d?$/i.test(found) && found.length <= 5) return found
  return /^\d+(?:ms|s|m|h|kb|mb)?$/i.test(found) ? '<n>' : '<id>'
}

function looksRandom(text: string): boolean {
  return /^[a-z]{2,6}_[A-Za-z]{10,}$/.test(text) && /[a-z][A-Z].*[a-z][A-Z]/.test(text)
}
