/** All that runs in the browser: it shows what the server sends, and presses buttons without leaving the page. */
export const script = `
const shown = (name) => document.getElementById(name)

const live = new EventSource('/live')
live.onmessage = ({ data }) => {
  for (const [name, markup] of Object.entries(JSON.parse(data))) {
    const focused = shown(name).contains(document.activeElement) ? document.activeElement.id : ''
    shown(name).innerHTML = markup
    if (focused !== '') shown(focused)?.focus()
  }
}
live.onerror = () => {
  shown('verdict').textContent = 'The store does not answer. What you see is older.'
}

document.addEventListener('submit', (event) => {
  event.preventDefault()
  void fetch(event.target.action, { method: 'POST', headers: { accept: 'text/plain' } })
})
`
