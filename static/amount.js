// The amount field: a keypad beside typing, one button that swaps sats and currency, and the same
// amount in the other unit below it. Without this script it is a text field and a list of units.

document.querySelectorAll('[data-amount]').forEach((box) => {
  const field = box.querySelector('input')
  const unit = box.querySelector('select')
  const keypad = box.querySelector('[data-keypad]')
  const swap = box.querySelector('[data-swap]')
  const other = box.querySelector('[data-other]')
  const { currency } = box.dataset
  const rate = Number(box.dataset.rate) // units of the currency per bitcoin
  const language = document.documentElement.lang
  const money = currency && new Intl.NumberFormat(language, { style: 'currency', currency })
  const decimals = money ? money.resolvedOptions().maximumFractionDigits : 0
  const parts = new Intl.NumberFormat(language).formatToParts(1234567.8)
  const point = parts.find((part) => part.type === 'decimal').value
  const group = parts.find((part) => part.type === 'group').value
  let before = null // what stood there before the last swap, to come back to it exactly

  const isFiat = () => unit.value !== 'sats'
  // As the server reads it: in the language of the page or plainly, and 0 when the two disagree.
  const amount = () => {
    const text = field.value.trim().replace(/\s/g, ' ')
    const fraction = isFiat() && decimals ? `(?:[POINT](\\d{1,${decimals}}))?` : ''
    const found = [
      `^(\\d{1,3}(?:[ ${group}]\\d{3})+|\\d*)${fraction.replace('POINT', point)}$`,
      `^(\\d*)${fraction.replace('POINT', '.,')}$`,
    ].map((reading) => text.match(reading)).filter(Boolean)
      .map(([, whole, decimal]) => Number(`${whole.replace(/\D/g, '') || 0}.${decimal || 0}`))
    return found.every((value) => value === found[0]) ? found[0] || 0 : 0
  }
  const toSats = (value) => Math.round((value / rate) * 1e8)
  const toFiat = (value) => ((value * rate) / 1e8).toFixed(decimals)
  const written = (fiat) => fiat.replace('.', point)

  const show = () => {
    field.classList.toggle('long', field.value.length > 6)
    keypad.classList.toggle('whole', !isFiat() || !decimals)
    if (!swap) return
    swap.querySelector('[data-unit]').textContent = unit.value
    other.hidden = !amount()
    other.replaceChildren(isFiat() ? sats(toSats(amount())) : money.format(toFiat(amount()))) // sats: of wallet.js
  }

  const type = (key) => {
    const [, fraction] = field.value.split(point)
    if (key === point && (!isFiat() || fraction !== undefined)) return
    if (fraction !== undefined && fraction.length >= decimals) return
    field.value = field.value === '0' && key !== point ? key : field.value + key
  }

  keypad.querySelector('[data-point]').textContent = point
  keypad.hidden = false
  keypad.addEventListener('click', (event) => {
    const button = event.target.closest('button')
    if (!button) return
    if ('back' in button.dataset) field.value = field.value.slice(0, -1)
    else type(button.textContent)
    field.dispatchEvent(new Event('input'))
  })
  // On a touch screen the keypad is the keyboard; keys of a real one work all the same.
  if (matchMedia('(pointer: coarse)').matches) field.inputMode = 'none'

  field.addEventListener('input', () => { before = null; show() })
  if (swap) {
    swap.hidden = false
    unit.hidden = true
    swap.addEventListener('click', () => {
      const text = field.value
      const value = amount()
      const back = before
      unit.value = isFiat() ? 'sats' : currency
      if (value) field.value = back ?? (isFiat() ? written(toFiat(value)) : String(toSats(value)))
      before = value ? text : null
      localStorage.setItem('unit', isFiat() ? 'currency' : 'sats')
      show()
    })
    // The choice of the last time, unless an amount stands there already.
    const last = localStorage.getItem('unit')
    if (last && !field.value) unit.value = last === 'sats' ? 'sats' : currency
  }
  show()
})
