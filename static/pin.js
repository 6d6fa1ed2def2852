// A pad of digits for the PIN. Without this script it is a password field; a keyboard works as well.

document.querySelectorAll('[data-pin]').forEach((box) => {
  const field = box.querySelector('input')
  const keypad = box.querySelector('[data-keypad]')
  keypad.hidden = false
  if (matchMedia('(pointer: coarse)').matches) field.inputMode = 'none' // the pad is the keyboard
  keypad.addEventListener('click', (event) => {
    const button = event.target.closest('button')
    if (!button) return
    if ('clear' in button.dataset) field.value = ''
    else if ('back' in button.dataset) field.value = field.value.slice(0, -1)
    else if (field.value.length < field.maxLength) field.value += button.textContent
  })
})
