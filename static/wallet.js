// Improvements on pages that work without them: copy, paste, one submit, live updates.

document.addEventListener('click', async (event) => {
  if (event.target.closest('[data-print]')) window.print()
  const button = event.target.closest('[data-copy], [data-paste], [data-share]')
  if (!button) return
  if (button.dataset.copy) {
    await navigator.clipboard.writeText(document.querySelector(button.dataset.copy).value)
    const label = button.querySelector('span')
    const before = label.textContent
    if (button.dataset.copied) return
    button.dataset.copied = 'yes'
    label.textContent = document.body.dataset.copied
    toast(document.body.dataset.copied)
    setTimeout(() => { label.textContent = before; delete button.dataset.copied }, 2000)
  } else if (button.dataset.share) {
    const url = new URL(button.dataset.share, location.href).href
    await navigator.share({ title: document.title, url }).catch(() => {}) // changed one's mind
  } else if (button.dataset.paste) {
    const field = document.querySelector(button.dataset.paste)
    field.value = await navigator.clipboard.readText()
    field.focus()
  }
})

// Pages tell times where the reader is, from the next page on.
document.cookie = `time_zone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/; max-age=31536000; samesite=lax${location.protocol === 'https:' ? '; secure' : ''}`

// Buttons that need a script are hidden until there is one.
function reveal(root) {
  root.querySelectorAll('[data-print][hidden]').forEach((button) => { button.hidden = false })
  if (navigator.share) root.querySelectorAll('[data-share][hidden]').forEach((button) => { button.hidden = false })
  if (!navigator.clipboard) return
  root.querySelectorAll('[data-copy][hidden], [data-paste][hidden]').forEach((button) => { button.hidden = false })
}

// Of a row of tabs that is wider than the screen, the chosen one is in sight.
function showChosen(root) {
  root.querySelectorAll('.tabs [aria-current]').forEach((tab) => {
    const row = tab.closest('.tabs').getBoundingClientRect()
    const { left, width } = tab.getBoundingClientRect()
    tab.closest('.tabs').scrollLeft += left + width / 2 - row.left - row.width / 2
  })
}
for (const drawn of ['DOMContentLoaded', 'htmx:afterSwap']) {
  document.addEventListener(drawn, () => { reveal(document); showChosen(document) })
}

// Whoever is signed out meanwhile is asked to sign in, instead of seeing parts of the page vanish.
document.addEventListener('htmx:beforeSwap', (event) => {
  if (new URL(event.detail.xhr.responseURL).pathname !== '/login') return
  event.detail.shouldSwap = false
  location.reload()
})

document.addEventListener('focusin', (event) => {
  if (event.target.matches('input[readonly]')) event.target.select()
})

// A form is sent once. The server would return the first result anyway; this saves the doubt.
document.addEventListener('submit', (event) => {
  const buttons = event.target.querySelectorAll('button')
  setTimeout(() => buttons.forEach((button) => { button.disabled = true }))
})
window.addEventListener('pageshow', () => {
  document.querySelectorAll('form button[disabled]').forEach((button) => { button.disabled = false })
})

// Live updates: the stream says what happened; the parts marked with hx-trigger="live from:body"
// fetch themselves again. Without a stream they do so every five seconds.
const url = document.body.dataset.stream
if (url) {
  const refresh = () => document.body.dispatchEvent(new Event('live'))
  let stream = null
  const connect = () => {
    if (stream && stream.readyState !== EventSource.CLOSED) return
    stream = new EventSource(url)
    stream.addEventListener('hello', refresh)
    stream.addEventListener('payment', (message) => {
      const payment = JSON.parse(message.data)
      if (payment.amount > 0 && payment.status !== 'failed') {
        const { received, detected } = document.body.dataset
        const word = payment.status === 'settled' ? received : detected
        if (!('quiet' in document.body.dataset)) toast(`${word} `, sats(payment.amount + (payment.tip || 0)))
        document.body.dispatchEvent(new CustomEvent('arrived', { detail: payment }))
      }
      refresh()
    })
  }
  connect()
  setInterval(() => {
    if (document.hidden || stream.readyState === EventSource.OPEN) return
    refresh()
    connect()
  }, 5000)
  document.addEventListener('visibilitychange', () => { if (!document.hidden) { refresh(); connect() } })
}

// An amount as the pages write it, with our bolt, which listeners hear as "sats".
function sats(amount) {
  const bolt = Object.assign(document.createElement('span'), { className: 'bolt', textContent: '⚡️' })
  bolt.setAttribute('role', 'img')
  bolt.setAttribute('aria-label', 'sats')
  const whole = Object.assign(document.createElement('span'), { className: 'amount' })
  whole.append(bolt, amount.toLocaleString(document.documentElement.lang))
  return whole
}

function toast(...words) {
  const box = document.getElementById('toasts')
  const line = document.createElement('p')
  line.append(...words)
  box.append(line)
  setTimeout(() => line.remove(), 6000)
}

// The app: an offline page, and a button that installs it where the browser offers that.
if (navigator.serviceWorker) navigator.serviceWorker.register('/service-worker.js')
window.addEventListener('beforeinstallprompt', (offer) => {
  offer.preventDefault()
  document.querySelectorAll('[data-install]').forEach((button) => {
    button.hidden = false
    button.addEventListener('click', async () => { await offer.prompt(); button.hidden = true }, { once: true })
  })
})
