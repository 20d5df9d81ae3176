/** The memory of this process after a collection, sample by sample. Node has to run with `--expose-gc`. */
export class Memory {
  readonly #samples: number[] = []

  sample(): number {
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    const megabytes = (heapUsed + external) / 2 ** 20
    this.#samples.push(megabytes)
    return megabytes
  }

  /** The middle of the second third beside that of the last: the first one warms up. */
  verdict(): { readonly isSteady: boolean; readonly text: string } {
    const third = Math.floor(this.#samples.length / 3)
    const before = median(this.#samples.slice(third, 2 * third))
    const after = median(this.#samples.slice(2 * third))
    return {
      isSteady: after <= before * 1.1 + 8,
      text: `${before.toFixed(1)} MB in the second third, ${after.toFixed(1)} MB in the last`,
    }
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}
