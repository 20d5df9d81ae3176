const most = 10_000

/** One of each group, made when it is first asked for. Of more than 10,000 those go that were not used for longest. */
export class Groups<T> {
  readonly #byName = new Map<string, T>()
  readonly #make: (name: string) => T
  readonly #isIdle: (one: T) => boolean

  constructor(make: (name: string) => T, isIdle: (one: T) => boolean) {
    this.#make = make
    this.#isIdle = isIdle
  }

  of(name: string): T {
    const known = this.#byName.get(name)
    const one = known ?? this.#make(name)
    if (known !== undefined) this.#byName.delete(name)
    this.#byName.set(name, one)
    if (known === undefined && this.#byName.size > most) this.#forgetOne()
    return one
  }

  values(): IterableIterator<T> {
    return this.#byName.values()
  }

  /** Only what is in its first state may be forgotten: an open circuit stays open. */
  #forgetOne(): void {
    for (const [name, one] of this.#byName)
      if (this.#isIdle(one)) {
        this.#byName.delete(name)
        return
      }
  }
}
