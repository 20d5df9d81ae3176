import type { Redis } from 'ioredis'

/** Makes the lease of a claim in Redis end so much earlier, as if that time had passed. */
export async function ageLease(redis: Redis, name: string, ms: number): Promise<void> {
  const text = (await redis.get(name)) ?? ''
  const [head, length] = /^(?:p\d{16}|P\d{16}(\d+):)/.exec(text) ?? []
  if (head === undefined) return
  const at = head.length + Number(length ?? 0)
  const end = BigInt(text.slice(at, at + 16)) - BigInt(ms) * 1000n
  await redis.set(name, text.slice(0, at) + String(end) + text.slice(at + 16), 'KEEPTTL')
}
