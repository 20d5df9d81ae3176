/** @throws one line that says what is missing, and how to get it. */
export function unreachable(title: string, name: string, address: string, cause: unknown, flag = name): never {
  const shown = address.replace(/\/\/[^@/]*@/, '//')
  const advice = `start one with \`npm run services -- up ${name}\`, or give --${flag} another address`
  throw new Error(`no ${title} answers at ${shown}: ${advice}`, { cause })
}
