/** The known name that is most like a wrong one; `undefined` where none is like it. */
export function nearest(wrong: string, known: readonly string[]): string | undefined {
  const given = wrong.slice(0, 80).toLowerCase()
  let best: string | undefined
  let least = Infinity
  for (const name of known) {
    const meant = name.toLowerCase()
    // A name within the other one is near, however much stands around it: `attempts` for `maxAttempts`.
    const within = given.length > 2 && (meant.includes(given) || given.includes(meant))
    const edits = within ? 1 : editsBetween(given, meant)
    if (edits < least && edits <= Math.ceil(Math.max(given.length, meant.length) / 3)) {
      best = name
      least = edits
    }
  }
  return best
}

/** How many letters to add, leave out or change (Levenshtein's distance). */
function editsBetween(from: string, to: string): number {
  // A cell for each beginning of `to`; a row for each beginning of `from`.
  let row = Array.from({ length: to.length + 1 }, (_, length) => length)
  for (const letter of from) {
    let last = (row[0] ?? 0) + 1
    const next = [last]
    row.slice(1).forEach((above, at) => {
      last = Math.min(last + 1, above + 1, (row[at] ?? 0) + (letter === to[at] ? 0 : 1))
      next.push(last)
    })
    row = next
  }
  return row[to.length] ?? 0
}
