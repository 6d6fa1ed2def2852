// The slider of the tip page writes its percentage of the amount into the field, in sats.

const box = document.querySelector('[data-slider]')
const slider = box.querySelector('input')
const says = box.querySelector('output')
const field = document.querySelector('input[name=tip]')
const language = document.documentElement.lang
const amount = Number(box.dataset.slider)

const show = (percent, tip) => {
  const share = (percent / 100).toLocaleString(language, { style: 'percent' })
  says.replaceChildren(`${share} · `, sats(tip)) // of wallet.js
  slider.setAttribute('aria-valuetext', `${percent} ${slider.dataset.unit}, ${tip.toLocaleString(language)} sats`)
}
slider.addEventListener('input', () => {
  const tip = Math.round((amount * slider.value) / 100)
  field.value = tip
  show(slider.value, tip)
})
field.addEventListener('input', () => {
  const tip = Number(field.value) || 0
  slider.value = Math.round((100 * tip) / amount)
  show(Math.round((100 * tip) / amount), tip)
})
box.hidden = false
show(slider.value, Math.round((amount * slider.value) / 100))
