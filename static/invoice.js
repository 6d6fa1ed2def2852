// An open invoice: the time that is left, and what happens when the money comes. Without this
// script the page says until when it is valid, and shows the rest when it is loaded again.

const state = document.getElementById('state')
const language = document.documentElement.lang

// --- The time that is left: digits in the last hour, words before -------------------------------

function left(seconds) {
  const words = new Intl.RelativeTimeFormat(language, { style: 'long' })
  if (seconds >= 2 * 86400) return words.format(Math.floor(seconds / 86400), 'day')
  if (seconds >= 3600) return words.format(Math.floor(seconds / 3600), 'hour')
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

function count() {
  const timer = state.querySelector('[data-countdown]')
  if (!timer) return
  const seconds = Math.ceil((new Date(timer.dataset.countdown) - Date.now()) / 1000)
  if (seconds > 0) {
    const text = `(${left(seconds)})`
    if (timer.textContent !== text) timer.textContent = text
    timer.hidden = false
  } else if (!timer.dataset.over) {
    timer.dataset.over = 'yes'
    document.body.dispatchEvent(new Event('live')) // the server says whether it has expired
  }
}
count()
setInterval(count, 1000)

// --- The money has come -------------------------------------------------------------------------

const COLOURS = ['#0b6a4f', '#57d3a5', '#f2c063', '#e8743b', '#3f7fd6']
const PIECES = 120
const SECONDS = 2.6
let celebrated = false

function confetti() {
  if (celebrated || matchMedia('(prefers-reduced-motion: reduce)').matches) return
  celebrated = true
  const canvas = Object.assign(document.createElement('canvas'), { className: 'confetti' })
  canvas.setAttribute('aria-hidden', 'true')
  document.body.append(canvas)
  const width = canvas.width = innerWidth
  const height = canvas.height = innerHeight
  const context = canvas.getContext('2d')
  const pieces = Array.from({ length: PIECES }, (_, number) => ({
    x: width / 2, y: height * 0.35, colour: COLOURS[number % COLOURS.length], size: 6 + Math.random() * 6,
    across: (Math.random() - 0.5) * width * 1.3, up: (0.35 + Math.random()) * height * 0.75,
    spin: (Math.random() - 0.5) * 14,
  }))
  const began = performance.now()
  const draw = (now) => {
    const t = (now - began) / 1000
    if (t > SECONDS) return canvas.remove()
    context.clearRect(0, 0, width, height)
    context.globalAlpha = Math.min(1, (SECONDS - t) * 1.5)
    for (const piece of pieces) {
      context.save()
      context.translate(piece.x + piece.across * (1 - Math.exp(-1.4 * t)), piece.y - piece.up * t + height * 0.62 * t * t)
      context.rotate(piece.spin * t)
      context.fillStyle = piece.colour
      context.fillRect(-piece.size / 2, -piece.size / 4, piece.size, piece.size / 2)
      context.restore()
    }
    requestAnimationFrame(draw)
  }
  requestAnimationFrame(draw)
}

function celebrate() {
  const paid = state.querySelector('[data-icon]')
  if (paid) document.querySelector('link[rel=icon]').href = paid.dataset.icon
  if (state.querySelector('[data-confetti]')) confetti()
}
celebrate()

let hadFocus = false
document.addEventListener('htmx:beforeSwap', () => { hadFocus = state.contains(document.activeElement) })
document.addEventListener('htmx:afterSwap', (event) => {
  if (event.target !== state) return
  count()
  celebrate()
  // What had the focus may be gone: what goes on takes it.
  if (hadFocus && document.activeElement === document.body) state.querySelector('.go-on')?.focus()
})
