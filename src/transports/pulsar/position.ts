/** So many entries of one ledger have a number. Brokers begin the next ledger after 50,000, at the earliest after ten minutes. */
const room = 10_000_000

/** The place of an entry as one number: ledger × 10,000,000 + entry. Later entries of a topic have higher ones. */
export function pulsarPosition(ledgerId: number, entryId: number): number {
  return ledgerId * room + entryId
}

export function placeOf(position: number): { readonly ledgerId: number; readonly entryId: number } {
  return { ledgerId: Math.floor(position / room), entryId: position % room }
}

/** Whether its entries can be told apart by their numbers. */
export function fitsPosition(ledgerId: number, entries: number): boolean {
  return entries <= room && Number.isSafeInteger(pulsarPosition(ledgerId, room))
}
