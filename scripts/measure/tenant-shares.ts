// What each tenant gets of six processes while one of them sends more than all places serve, without and with places of its
// own, as a chart. It needs a quiet machine:
// `node scripts/measure/tenant-shares.ts [docs/images/tenant-shares.svg]`
import { writeFile } from 'node:fs/promises'
import { limitsRun, type LimitsCounts } from '../chaos/limits/run.ts'
import { names, type Tenant } from '../chaos/limits/settings.ts'
import { seeded } from '../../src/transports/memory/random.ts'
import { privateRedis } from '../../test/support/private-servers.ts'

const [file] = process.argv.slice(2)
const redis = await privateRedis()
const common = {
  redisUrl: redis.url,
  planted: null,
  random: seeded(1),
  attack: false,
  starts: 0,
  seconds: 20,
  flood: 40,
  concurrency: 4,
}
const runs: (readonly [string, LimitsCounts])[] = []
try {
  for (const limited of [false, true]) {
    const counts = await limitsRun({ ...common, limited, signal: new AbortController().signal })
    runs.push([limited ? 'with bulkhead({ by, share })' : 'without', counts])
  }
} finally {
  await redis.dispose()
}
const shareOf = ({ sentPerSecond, donePerSecond }: LimitsCounts, name: Tenant): number =>
  donePerSecond[name] / Math.max(0.01, sentPerSecond[name])
console.table(
  runs.map(([how, counts]) => ({
    how,
    ...Object.fromEntries(
      names.map((name) => [
        name,
        `${counts.donePerSecond[name].toFixed(1)} of ${counts.sentPerSecond[name].toFixed(1)}/s`,
      ]),
    ),
    'deliveries a message': counts.deliveriesPerMessage.toFixed(2),
  })),
)
if (file !== undefined) await writeFile(file, drawn())
process.exit(0)

function drawn(): string {
  const colours = ['#b45309', '#0f766e']
  const bars = names.flatMap((name, row) =>
    runs.map(([, counts], at) => {
      const y = 78 + row * 60 + at * 22
      const share = Math.min(1, shareOf(counts, name))
      const said = `${counts.donePerSecond[name].toFixed(1)} of ${counts.sentPerSecond[name].toFixed(1)} a second`
      return `<rect x="150" y="${y}" width="${(share * 420).toFixed(1)}" height="18" rx="2" fill="${colours[at]}"/><text x="${(158 + share * 420).toFixed(1)}" y="${y + 13}">${said}</text>`
    }),
  )
  const labels = names.map((name, row) => `<text x="140" y="${102 + row * 60}" text-anchor="end">${name}</text>`)
  const legend = runs.map(
    ([how], at) =>
      `<rect x="${150 + at * 130}" y="44" width="12" height="12" fill="${colours[at]}"/><text x="${168 + at * 130}" y="54">${how}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" font-family="system-ui, sans-serif" font-size="12">
<title>What each tenant gets of what it sends, while one floods six processes</title>
<rect width="760" height="330" fill="#fff"/>
<text x="16" y="26" font-size="15" font-weight="600">What each tenant gets of what it sends, while one floods six processes</text>
${[...legend, ...labels, ...bars].join('\n')}
</svg>
`
}
