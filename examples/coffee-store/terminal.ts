import { styleText } from 'node:util'

/** A line as its pieces, so that it can be cut to the terminal before it is coloured. */
export type Line = readonly Piece[]
export type Piece = string | readonly [text: string, ...styles: Style[]]
type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow'

/** Cuts a line to so many columns and colours what is left, unless the stream or `NO_COLOR` says otherwise. */
export function print(line: Line, columns: number, stream: NodeJS.WriteStream): string {
  let left = columns
  let printed = ''
  for (const piece of line) {
    const [text, ...styles] = typeof piece === 'string' ? [piece] : piece
    const cut = [...text].slice(0, left).join('')
    left -= [...cut].length
    printed += styles.length === 0 ? cut : styleText([...styles], cut, { stream })
  }
  return printed
}

export function bar(done: number, total: number, width: number): readonly [Piece, Piece] {
  const filled = total === 0 ? 0 : Math.min(width, Math.round((done / total) * width))
  return [
    ['━'.repeat(filled), 'green'],
    ['─'.repeat(width - filled), 'dim'],
  ]
}

/** Breaks a text between words, so that each line fits. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line !== undefined && line.length + word.length < width) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}

export const grouped = (count: number): string => count.toLocaleString('en')
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Draws frames over each other: each in one write, so that nothing flickers. */
export function canvas(stream: NodeJS.WriteStream) {
  const hideCursor = '\x1b[?25l'
  const showCursor = '\x1b[?25h'
  const clearLine = '\x1b[K'
  const clearBelow = '\x1b[J'
  let drawn = 0

  function draw(lines: readonly Line[]): void {
    const { columns = 80, rows = 24 } = stream
    // The last column stays empty: some terminals wrap as soon as it is written.
    const shown = lines.slice(0, rows - 1).map((line) => print(line, columns - 1, stream) + clearLine)
    const back = drawn === 0 ? hideCursor : `\x1b[${drawn}F`
    stream.write(`${back}${shown.join('\n')}\n${clearBelow}`)
    drawn = shown.length
  }

  // What was drawn for another width cannot be drawn over.
  const startAgain = () => {
    stream.write(`\x1b[2J\x1b[H`)
    drawn = 0
  }
  stream.on('resize', startAgain)
  return {
    draw,
    end() {
      stream.off('resize', startAgain)
      stream.write(showCursor)
    },
  }
}
