import { createHash } from 'node:crypto'

/** Which of `count` places a key belongs to: the first four bytes of its MD5, so that other languages can do the same. */
export function numberOfKey(key: string, count: number): number {
  return createHash('md5').update(key).digest().readUInt32BE(0) % count
}
