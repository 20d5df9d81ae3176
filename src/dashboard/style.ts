/** The one style sheet. Light and dark follow the system; colours never carry a meaning alone. */
export const style = `
:root {
  color-scheme: light dark;
  --page: #f4f6f8; --card: #fff; --text: #18212c; --dim: #556170; --line: #d9dfe6; --soft: #f4f6f8;
  --accent: #1d5bb8; --accent-text: #fff; --focus: #1d5bb8;
  --bad: #b3231a; --bad-soft: #fdf1f0; --warn: #8a5200; --warn-soft: #fdf6e7; --good: #17683a; --good-soft: #edf7f0;
  --shadow: 0 1px 2px rgb(16 24 40 / .06);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1319; --card: #161d25; --text: #e4eaf1; --dim: #9ba8b7; --line: #2a3440; --soft: #1c242e;
    --accent: #8ab8ff; --accent-text: #0b1626; --focus: #8ab8ff;
    --bad: #ff9c91; --bad-soft: #331c1b; --warn: #f5c76a; --warn-soft: #30270f; --good: #84dba5; --good-soft: #14291d;
    --shadow: none;
  }
}
*, ::before, ::after { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; overflow-wrap: break-word }
a { color: var(--accent); text-underline-offset: .15em; text-decoration-thickness: 1px }
a:hover { text-decoration-thickness: 2px }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 4px }
.skip { position: absolute; left: -999rem; top: 0; z-index: 2; padding: .5rem 1rem; background: var(--card) }
.skip:focus { left: .5rem; top: .5rem }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
.dim { color: var(--dim) } .bad { color: var(--bad) } .warn { color: var(--warn) } .good { color: var(--good) }
code, pre, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .87em }
code { overflow-wrap: anywhere }

.top { background: var(--card); border-bottom: 1px solid var(--line) }
.top > div { max-width: 82rem; margin: 0 auto; padding: 0 1.25rem; display: flex; flex-wrap: wrap; align-items: center; column-gap: 1.5rem }
.brand { display: inline-flex; align-items: center; gap: .5rem; padding: .8rem 0; font-weight: 700; font-size: 1.05rem; color: var(--text); text-decoration: none; letter-spacing: -.01em }
.brand::before { content: ""; width: .95rem; height: .95rem; border-radius: 3px; border: 3px solid var(--accent); border-right-color: transparent; transform: rotate(45deg) }
nav ul { display: flex; flex-wrap: wrap; gap: 0 .25rem; list-style: none; margin: 0; padding: 0 }
nav a { display: block; padding: .85rem .6rem .7rem; color: var(--dim); text-decoration: none; border-bottom: 3px solid transparent }
nav a:hover { color: var(--text); border-color: var(--line) }
nav a[aria-current] { color: var(--text); font-weight: 600; border-color: var(--accent) }
.who { margin-left: auto; padding: .6rem 0; color: var(--dim); font-size: .87rem; display: flex; flex-wrap: wrap; gap: .4rem .6rem; align-items: center }
main { max-width: 82rem; margin: 0 auto; padding: 1.25rem 1.25rem 3rem }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .3rem 0 .9rem; letter-spacing: -.015em; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 0; line-height: 1.3 }
h3 { font-size: .95rem; margin: 1rem 0 .3rem }
p { margin: .5rem 0; max-width: 75ch }
.lead { color: var(--dim); margin-top: -.5rem; max-width: 85ch }
.crumbs { font-size: .87rem; margin: 0 0 .2rem }
.updates { display: flex; flex-wrap: wrap; gap: .4rem .8rem; align-items: center; justify-content: flex-end; min-height: 1.6rem; font-size: .83rem; color: var(--dim); max-width: 82rem; margin: 0 auto; padding: .6rem 1.25rem 0 }
.updates [data-status]:empty { display: none }
.updates [data-status] { color: var(--warn); font-weight: 600 }
.updates button { font-size: inherit; padding: .1rem .6rem }

.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; box-shadow: var(--shadow); margin: 0 0 1.1rem; min-width: 0 }
.card > header { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; justify-content: space-between; padding: .8rem 1rem .7rem; border-bottom: 1px solid var(--line) }
.card > header p { margin: 0; color: var(--dim); font-size: .87rem }
.bar { display: flex; flex-wrap: wrap; gap: .5rem .6rem; align-items: center; padding: .6rem 1rem; border-bottom: 1px solid var(--line); background: var(--soft); font-size: .9rem } .bar .gap { flex: 1 1 1rem } .bar button, .bar .button { padding: .2rem .6rem; font-size: .9rem }
.card > .in { padding: .8rem 1rem 1rem }
.card > footer { padding: .6rem 1rem; border-top: 1px solid var(--line); color: var(--dim); font-size: .9rem; display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center }
.two { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 1.1rem; align-items: start }
@media (max-width: 60rem) { .two { grid-template-columns: minmax(0, 1fr) } }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(16.5rem, 1fr)); gap: .7rem; margin: 0 0 1.1rem; padding: 0; list-style: none }
@media (min-width: 60rem) { .tiles { grid-template-columns: repeat(4, minmax(0, 1fr)) } }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; box-shadow: var(--shadow); padding: .7rem .9rem .75rem; display: flex; flex-direction: column }
.tile .label { color: var(--dim); font-size: .85rem }
.tile .number { font-size: 1.7rem; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; letter-spacing: -.02em }
.tile .under { color: var(--dim); font-size: .83rem; margin-top: auto }
.tile.is-bad { border-color: color-mix(in srgb, var(--bad) 45%, var(--line)); background: var(--bad-soft) }
.tile.is-bad .number { color: var(--bad) }
.tile.is-warn { border-color: color-mix(in srgb, var(--warn) 45%, var(--line)); background: var(--warn-soft) }
.tile.is-warn .number { color: var(--warn) }

.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem }
th { text-align: left; font-weight: 600 }
thead th { color: var(--dim); font-size: .8rem; padding: .5rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: bottom }
tbody th, td { padding: .6rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; font-weight: inherit }
tbody tr:last-child > * { border-bottom: 0 }
tbody tr:hover > * { background: var(--soft) }
th:first-child, td:first-child { padding-left: 1rem } th:last-child, td:last-child { padding-right: 1rem }
.number-cell { text-align: right; white-space: nowrap; width: 1% }
.tight { white-space: nowrap; width: 1%; overflow-wrap: normal }
.wide { min-width: 15rem; width: 55% }
.head { min-width: 11rem } .name { min-width: 7rem } .short { white-space: nowrap; overflow-wrap: normal }
.when { display: inline-block; white-space: nowrap }
.when .at, .when .ago { display: block } .when .ago, .zone { color: var(--dim); font-size: .86em }
dd .when .at, dd .when .ago, .meta .when .at, .meta .when .ago { display: inline } dd .when .ago::before, .meta .when .ago::before { content: "· " }
.error-name { font-weight: 600; overflow-wrap: anywhere }
.bar + .scroll thead th { border-top: 0 }
.clamp { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden }
.badge { display: inline-block; border-radius: 99px; padding: .05rem .6rem; font-size: .8rem; font-weight: 600; border: 1px solid currentColor; color: var(--dim); white-space: nowrap; vertical-align: .08em }
.badge.bad { color: var(--bad); background: var(--bad-soft) } .badge.warn { color: var(--warn); background: var(--warn-soft) } .badge.good { color: var(--good); background: var(--good-soft) }
h1 .badge { font-size: .85rem; letter-spacing: 0; vertical-align: .25em; margin-left: .3rem }
progress { width: 100%; min-width: 6rem; max-width: 14rem; height: .55rem; accent-color: var(--accent); display: block; margin-top: .3rem }
.big progress { max-width: none; height: .8rem }
dl.facts { display: grid; grid-template-columns: minmax(7.5rem, max-content) minmax(0, 1fr); gap: .4rem 1.2rem; margin: 0 }
dl.facts dt { color: var(--dim) } dl.facts dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 34rem) { dl.facts { grid-template-columns: minmax(0, 1fr) } dl.facts dd { margin: -.35rem 0 .3rem } }
pre { margin: 0; padding: .8rem 1rem; background: var(--soft); border: 1px solid var(--line); border-radius: 8px; overflow: auto; max-height: 32rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; tab-size: 2 }
.empty { padding: 1.6rem 1rem; text-align: center; color: var(--dim) }
.empty strong { display: block; color: var(--text); font-size: 1.02rem; margin-bottom: .15rem }
.empty p { margin: .2rem auto }
.note { border: 1px solid var(--line); border-left: 4px solid var(--accent); background: var(--card); border-radius: 8px; padding: .6rem 1rem; margin: 0 0 1.1rem }
.note.bad { border-left-color: var(--bad); color: inherit; background: var(--bad-soft) } .note.good { border-left-color: var(--good); color: inherit; background: var(--good-soft) } .note.warn { border-left-color: var(--warn); color: inherit; background: var(--warn-soft) }
.note p { margin: .2rem 0 }

form { margin: 0 }
label, .label-like { font-weight: 600; font-size: .85rem; display: block; margin-bottom: .2rem }
input, select, textarea, button, .button { font: inherit; font-size: .93rem; color: var(--text); background: var(--card); border: 1px solid color-mix(in srgb, var(--dim) 55%, var(--line)); border-radius: 7px; padding: .38rem .65rem; max-width: 100% }
input[type=text], input[type=search], input[type=number], select { width: 100% }
input[type=checkbox], input[type=radio] { width: 1.05rem; height: 1.05rem; flex: none; margin: .2rem .5rem .2rem 0; vertical-align: -.2em; accent-color: var(--accent); padding: 0 }
textarea { width: 100%; min-height: 16rem; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .87rem; line-height: 1.45; tab-size: 2 }
button, .button { cursor: pointer; font-weight: 600; text-decoration: none; display: inline-block; white-space: nowrap }
button:hover, .button:hover { border-color: var(--accent) }
.primary { background: var(--accent); border-color: var(--accent); color: var(--accent-text) }
.primary:hover { filter: brightness(1.08) }
.danger { color: var(--bad); border-color: var(--bad) }
.row { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center }
.row.end { justify-content: flex-end }
.fields { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr)); gap: .7rem .9rem; align-items: start }
.fields > .row { align-self: end } .fields > .broad { grid-column: span 2 }
@media (max-width: 34rem) { .fields > .broad { grid-column: auto } }
.fields + .row, .fields + details, details + .row { margin-top: .8rem }
.hint { font-size: .84rem; color: var(--dim); margin: .2rem 0 0; font-weight: 400 }
.choice { display: flex; gap: .3rem; margin: .35rem 0 } .choice label { font-weight: 400; font-size: .93rem; margin: 0 } .choice label strong { display: block }
fieldset { border: 0; padding: 0; margin: 1rem 0 0; min-width: 0 } .in > fieldset:first-child, .in > form > fieldset:first-of-type { margin-top: 0 } legend { font-weight: 600; padding: 0; margin-bottom: .2rem }
details > summary { cursor: pointer; color: var(--accent); font-weight: 600; font-size: .93rem; width: max-content; max-width: 100% }
details[open] > summary { margin-bottom: .5rem }
details.ask { display: inline-block; vertical-align: top; min-width: 0 }
details.ask > summary { list-style: none; border: 1px solid color-mix(in srgb, var(--dim) 55%, var(--line)); border-radius: 7px; padding: .38rem .65rem; color: var(--text); background: var(--card); white-space: nowrap }
details.ask.danger > summary { color: var(--bad); border-color: var(--bad) }
details.ask.danger { border: 0 }
details.ask > summary::-webkit-details-marker { display: none }
details.ask > summary::after { content: "…" }
details.ask > div { border: 1px solid var(--line); border-radius: 8px; background: var(--soft); padding: .7rem .9rem; max-width: 30rem; white-space: normal }
details.ask > div p:first-child { margin-top: 0 }
td .row { gap: .35rem } td button, td .button, td details.ask > summary { padding: .2rem .55rem; font-size: .87rem }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; list-style: none; padding: 0; margin: 0 0 .9rem }
.chips a { display: inline-block; border: 1px solid var(--line); background: var(--card); border-radius: 99px; padding: .15rem .7rem; font-size: .87rem; text-decoration: none; overflow-wrap: anywhere }
.chips a::after { content: " ×"; color: var(--dim) }
ol.timeline { list-style: none; margin: 0; padding: .2rem 0 0 }
ol.timeline > li { position: relative; padding: 0 0 1rem 1.5rem; border-left: 2px solid var(--line); margin-left: .4rem }
ol.timeline > li:last-child { border-left-color: transparent; padding-bottom: .2rem }
ol.timeline > li::before { content: ""; position: absolute; left: -.44rem; top: .4rem; width: .75rem; height: .75rem; border-radius: 50%; background: var(--card); border: 3px solid var(--dim) }
ol.timeline > li.bad::before { border-color: var(--bad) } ol.timeline > li.good::before { border-color: var(--good) } ol.timeline > li.warn::before { border-color: var(--warn) }
ol.timeline > li.bad, ol.timeline > li.good, ol.timeline > li.warn { color: inherit }
ol.timeline .meta { font-size: .86rem; color: var(--dim) }
.foot { max-width: 82rem; margin: 0 auto; padding: 0 1.25rem 2rem; color: var(--dim); font-size: .83rem }

@media (max-width: 46rem) {
  .stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
  .stack, .stack tbody, .stack tr { display: block; width: 100% }
  .stack tr { padding: .7rem 1rem; border-bottom: 1px solid var(--line) } .stack tbody tr:last-child { border-bottom: 0 }
  .stack tbody th, .stack td { display: block; width: auto; min-width: 0; padding: .12rem 0; border: 0; text-align: left; white-space: normal }
  .stack tbody tr:hover > * { background: none }
  .stack [data-label]::before { content: attr(data-label) ": "; color: var(--dim); font-size: .85rem }
  .stack .when { white-space: normal } .stack .when .at, .stack .when .ago { display: inline } .stack .when .ago::before { content: "· " }
  .stack td:empty, .stack .short { white-space: normal } .stack td:empty { display: none }
  .who { margin-left: 0; width: 100%; padding-top: 0 }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)) }
  main { padding-left: .8rem; padding-right: .8rem } .top > div, .updates, .foot { padding-left: .8rem; padding-right: .8rem }
}
@media (forced-colors: active) { .badge, .tile, .note { border: 1px solid } }
@media print { .top nav, .updates, form, details.ask { display: none } body { background: none } }
`
