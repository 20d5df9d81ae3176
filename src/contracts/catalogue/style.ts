/** The style sheet of the catalogue, which has no script. */
export const style = `
:root{--ink:#1d2126;--soft:#5d6670;--line:#dfe3e8;--paper:#fbfaf7;--card:#fff;--bad:#b4231f;--wait:#8a5700;--accent:#6b3f1d}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--soft:#98a1ac;--line:#31363d;--paper:#15171a;--card:#1c1f23;--bad:#ff7d75;--wait:#e5b04a;--accent:#d9a274}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:24px;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0}
h2{font-size:19px;margin:40px 0 8px;overflow-wrap:anywhere}
a{color:var(--accent)}
.soft{color:var(--soft)}
.error{color:var(--bad);font-weight:600}
.warning{color:var(--wait);font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;background:var(--card)}
th,td{border-bottom:1px solid var(--line);padding:7px 10px;text-align:left;vertical-align:top}
td{overflow-wrap:anywhere}
.scroll td:first-child{overflow-wrap:normal}
td.tight,td .warning{overflow-wrap:normal;white-space:nowrap}
th{color:var(--soft);font-weight:600}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px;overflow-x:auto}
svg{width:100%;height:auto;margin:20px 0}
svg rect{fill:var(--card);stroke:var(--accent)}
svg .edge{fill:none;stroke:var(--soft)}
svg marker path{fill:var(--soft)}
svg text{fill:var(--soft);font-size:12px;text-anchor:middle;paint-order:stroke;stroke:var(--paper);stroke-width:4px}
svg .name{fill:var(--ink);font-size:14px;font-weight:600;stroke:none}
`
