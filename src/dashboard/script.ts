/**
 * All that runs in the browser: it asks for the page again every few seconds. Without it the page has a link for that.
 * It leaves alone what is being used: an open form, a field, a selection.
 */
export const script = `
const region = document.querySelector('[data-live]')
const status = document.querySelector('[data-status]')
if (region && status) {
  const everyMs = 5000
  let paused = sessionStorage.getItem('holdfast-paused') === '1'
  const button = document.createElement('button')
  button.type = 'button'
  const label = () => (button.textContent = paused ? 'Resume updates' : 'Pause updates')
  label()
  button.addEventListener('click', () => {
    paused = !paused
    sessionStorage.setItem('holdfast-paused', paused ? '1' : '0')
    label()
  })
  document.querySelector('[data-updates]').append(button)
  const inUse = () =>
    document.hidden || region.contains(document.activeElement) || region.querySelector('details[open], input:checked') ||
    String(getSelection()) !== ''
  const refresh = async () => {
    if (paused || inUse()) return
    let text = ''
    try {
      const response = await fetch(location.href, { redirect: 'error', cache: 'no-store' })
      const next = new DOMParser().parseFromString(await response.text(), 'text/html').querySelector('[data-live]')
      if (!response.ok || !next) throw new Error('no page')
      if (!paused && !inUse()) region.replaceChildren(...next.childNodes)
    } catch {
      text = 'This page could not be refreshed. What you see is older.'
    }
    if (status.textContent !== text) status.textContent = text
  }
  const loop = () => setTimeout(() => refresh().finally(loop), everyMs)
  loop()
}
`
