/** The one style sheet. Light and dark follow the system; no colour carries a meaning alone. */
export const style = `
:root {
  color-scheme: light dark;
  --page: #f7f5f1; --card: #fff; --text: #211d19; --dim: #655d55; --line: #e2dcd4; --accent: #7a3f16;
  --bad: #b3231a; --bad-text: #fff; --warn: #8a5200; --good: #17683a;
  --c0: #7a3f16; --c1: #0b6e8a; --c2: #a02a6d; --c3: #4d6b00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16130f; --card: #211d18; --text: #ece6de; --dim: #ab9f92; --line: #3a332b; --accent: #e8ab7a;
    --bad: #ff9c91; --bad-text: #2a0d0a; --warn: #f5c76a; --good: #84dba5;
    --c0: #e8ab7a; --c1: #6fd0ea; --c2: #f39bcb; --c3: #b8d95c;
  }
}
*, ::before, ::after { box-sizing: border-box }
body { margin: 0 auto; max-width: 84rem; padding: 0 1rem 2rem; background: var(--page); color: var(--text); font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: break-word }
header { display: flex; flex-wrap: wrap; gap: .2rem 1rem; align-items: baseline; padding: 1rem 0 .4rem }
h1 { font-size: 1.4rem; margin: 0 }
h2 { font-size: 1rem; margin: 0 0 .6rem }
h3 { font-size: .85rem; margin: .9rem 0 .4rem; color: var(--dim); font-weight: 600 }
header p { margin: 0; color: var(--dim) }
#verdict { margin-left: auto; font-weight: 650; font-size: 1.05rem }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding-bottom: .8rem }
a { color: var(--accent) }
main { display: grid; gap: .9rem; grid-template-columns: 19rem minmax(0, 1fr); align-items: start }
main > div { display: grid; gap: .9rem; grid-template-columns: minmax(0, 1fr) }
.both { display: grid; gap: .9rem; grid-template-columns: minmax(0, 1.2fr) minmax(0, 1fr); align-items: start }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem 1rem; min-width: 0 }
@media (max-width: 66rem) { main, .both { grid-template-columns: minmax(0, 1fr) } .side { grid-template-columns: 19rem minmax(0, 1fr) } }
@media (max-width: 42rem) { .side { grid-template-columns: minmax(0, 1fr) } #verdict { margin-left: 0 } }
dl { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; margin: 0 }
dt { color: var(--dim); font-size: .85rem } dd { margin: 0; font-size: 1.35rem; font-weight: 650 }
ul, ol { list-style: none; margin: 0; padding: 0 }
form { display: inline-block; margin: 0 }
button { font: inherit; font-weight: 600; color: inherit; background: transparent; border: 1px solid var(--dim); border-radius: 7px; padding: .3rem .65rem; cursor: pointer }
button:hover { border-color: var(--accent); color: var(--accent) }
button:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
button[aria-pressed=true] { background: var(--bad); border-color: var(--bad); color: var(--bad-text) }
.menu li { display: flex; gap: .4rem; margin-bottom: .4rem } .menu form:first-child, .menu form:first-child button { flex: 1; width: 100% }
.shop > form { width: 100% } .shop > form button { width: 100% }
.switches li { margin-bottom: .7rem } .switches button { width: 100%; text-align: left } .switches form { display: block; margin-bottom: .15rem } .switches span { font-size: .87rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { padding: .35rem .5rem; border-bottom: 1px solid var(--line); text-align: right; font-weight: inherit; vertical-align: top }
tr:last-child > * { border-bottom: 0 }
th:first-child, td:last-child { text-align: left } th:first-child { padding-left: 0; white-space: nowrap }
.services td:nth-child(2), .services th:nth-child(2) { text-align: left; white-space: nowrap; min-width: 8.5rem } .services td:last-child { text-align: right }
thead th { color: var(--dim); font-size: .83rem; vertical-align: bottom }
.audit td:last-child { color: var(--dim) }
svg { display: block; width: 100%; max-width: 38rem }
svg text { font-size: 12px; fill: var(--dim) } svg .end { text-anchor: end } svg .name { font-size: 13px; font-weight: 600 }
svg path { fill: none; stroke-width: 2.2 } svg .axis { stroke: var(--line); stroke-width: 1 }
svg .line.c0 { stroke: var(--c0) } svg .line.c1 { stroke: var(--c1) } svg .line.c2 { stroke: var(--c2) } svg .line.c3 { stroke: var(--c3) }
svg .line.c1 { stroke-dasharray: 7 3 } svg .line.c2 { stroke-dasharray: 2 3 } svg .line.c3 { stroke-dasharray: 10 3 2 3 }
svg .name.c0 { fill: var(--c0) } svg .name.c1 { fill: var(--c1) } svg .name.c2 { fill: var(--c2) } svg .name.c3 { fill: var(--c3) }
.notes li { display: grid; grid-template-columns: 4.5rem minmax(0, 1fr) auto auto; gap: .6rem; padding: .15rem 0 }
.dim, .plain { color: var(--dim) } .bad { color: var(--bad) } .warn { color: var(--warn) } .good { color: var(--good) }
`
