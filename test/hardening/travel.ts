/** One row of the page that leads through the source: which file, and what to look for in it. */
export interface Step {
  readonly file: string
  readonly link: string
  readonly wanted: string
}

/** One table of the page. */
export interface Direction {
  readonly trip: string
  readonly way: string
  readonly steps: readonly Step[]
}

export function directionsOf(page: string): readonly Direction[] {
  return page
    .split(/^## /m)
    .slice(1)
    .flatMap((section) => {
      const trip = section.slice(0, section.indexOf('\n'))
      return [...section.matchAll(/^\| *(\D[^|]*?) *\| File[^\n]*\n(?:\|[^\n]*\n?)+/gm)].map(([table, way = '']) => ({
        trip,
        way,
        steps: [...table.matchAll(/^\| *\d+ *\| *\[`([^`]+)`\]\(([^)]+)\) *\| *`([^`]+)` *\|/gm)].map(
          ([, file = '', link = '', wanted = '']) => ({ file, link, wanted }),
        ),
      }))
    })
}

/** The files of `src/` that a call is in, the outermost first; a file that calls itself stands there once. */
export function filesOnTheWay(): readonly string[] {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 200
  const { stack = '' } = new Error('here')
  Error.stackTraceLimit = limit
  const files = [...stack.matchAll(/\/src\/([\w/-]+\.ts):\d+/g)].map(([, file = '']) => file).reverse()
  return files.filter((file, at) => file !== files[at - 1])
}
