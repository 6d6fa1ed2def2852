// The slider of the tip page writes its percentage of the amount into the field, in sats.

const box = document.querySelector('[data-slider]')
const slider = box.querySelector('input')
const says = box.querySelector('output')
const field = document.querySelector('input[name=tip]')
const language = document.documentElement.lang
const amount = Number(box.dataset.slider)

const show = (percent, sats) => {
  const share = (percent / 100).toLocaleString(language, { style: 'percent' })
  says.textContent = `${share} · ⚡️${sats.toLocaleString(language)}`
  slider.setAttribute('aria-valuetext', `${percent} ${slider.dataset.unit}, ${sats.toLocaleString(language)} sats`)
}
slider.addEventListener('input', () => {
  const sats = Math.round((amount * slider.value) / 100)
  field.value = sats
  show(slider.value, sats)
})
field.addEventListener('input', () => {
  const sats = Number(field.value) || 0
  slider.value = Math.round((100 * sats) / amount)
  show(Math.round((100 * sats) / amount), sats)
})
box.hidden = false
show(slider.value, Math.round((amount * slider.value) / 100))
