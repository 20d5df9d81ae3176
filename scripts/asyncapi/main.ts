import { readFile } from 'node:fs/promises'
import '../../test/examples/from-source.ts'
import { writtenDocuments, type Written } from './documents.ts'
import { officialParser, type Finding } from './parser.ts'
import { plants } from './plants.ts'

// Asks the official parser for its verdict on every document that `holdfast contracts write` makes of this project's
// contracts, or on the files that are named. A parser that refuses nothing proves nothing: wrong documents are planted too.
const files = process.argv.slice(2)
const judge = officialParser()
const documents: readonly Written[] =
  files.length === 0
    ? await writtenDocuments()
    : await Promise.all(files.map(async (name) => ({ name, text: await readFile(name, 'utf8') })))

const all: Finding[] = []
for (const { name, text } of documents) {
  const findings = await judge(text)
  all.push(...findings)
  const errors = findings.filter(({ level }) => level === 'error')
  console.log(`${errors.length === 0 ? 'valid  ' : 'REFUSED'} ${name}`)
  for (const { level, rule, at, says } of findings)
    if (level !== 'information') console.log(`        ${level} ${rule} ${at}: ${says}`)
}
const count = (level: Finding['level']): number => all.filter((each) => each.level === level).length

let taken = 0
const [sample] = documents
for (const { name, spoil } of files.length === 0 && sample !== undefined ? plants : []) {
  const [error] = (await judge(spoil(sample?.text ?? ''))).filter(({ level }) => level === 'error')
  if (error === undefined) taken++
  console.log(`planted: ${name}: ${error === undefined ? 'TAKEN' : `refused: ${error.says}`}`)
}

const counts = `${count('error')} errors, ${count('warning')} warnings, ${count('information')} remarks`
console.log(`${documents.length} documents: ${counts}`)
process.exitCode = count('error') > 0 || taken > 0 || documents.length === 0 ? 1 : 0
