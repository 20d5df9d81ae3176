/** Texts that would run, lead astray or break a page that lets one of them through. */
export const hostileTexts: readonly string[] = [
  '<script>window.pwned=1</script>',
  '"><img src=x onerror="window.pwned=1">',
  "' autofocus onfocus='window.pwned=1' x='",
  '</title></pre></textarea><svg onload=window.pwned=1>',
  'javascript:window.pwned=1//" href="javascript:window.pwned=1',
  '<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
  '<meta http-equiv=refresh content="0;url=javascript:window.pwned=1"><base href="//evil.example/">',
  '<style>@import "http://evil.example/x.css"; body{display:none}</style>{{constructor.constructor("pwned=1")()}}',
  '\u202egnp.exe\u0000\u0007\u001b[2J\u2066\ud800\ufeff<b onclick=window.pwned=1>',
  `${'k'.repeat(100_000)}<script>window.pwned=1</script>`,
]
