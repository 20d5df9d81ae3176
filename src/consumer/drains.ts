/** Those who wait for a drain: of one track, or of all of them (`undefined`). */
export class Drains<Track> {
  #waiting: { readonly track: Track | undefined; readonly resolve: () => void }[] = []

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  add(track: Track | undefined): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ track, resolve }))
  }

  /** Ends the waits that are over. */
  tell(isDrained: (track: Track | undefined) => boolean): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const drain of waiting)
      if (isDrained(drain.track)) drain.resolve()
      else this.#waiting.push(drain)
  }
}
