/**
 * Text that every store and every broker takes: NUL and halves of surrogate pairs are replaced, and what is longer than
 * `longest` UTF-16 units is cut. Errors quote what they were given, and that may be anything.
 */
export function plainText(text: string, longest = 1024): string {
  return text.slice(0, longest).toWellFormed().replaceAll('\0', '\ufffd')
}

/** The same for a database whose encoding may lack characters: all but ASCII becomes `?`. */
export function asciiText(text: string): string {
  return text.replaceAll(/[^\x20-\x7e\t\n]/gu, '?')
}
