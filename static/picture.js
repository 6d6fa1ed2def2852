// Cut a chosen picture to the size that its field names before it is sent: the server takes 200 kB
// and changes nothing. What the camera noted in the file (place, time) stays behind, too.

const toBlob = (canvas, type) => new Promise((done) => canvas.toBlob(done, type, 0.85))

document.querySelectorAll('input[type=file][data-picture]').forEach((input) => {
  // The browser's own button speaks the browser's language: ours, and the name, stand for it.
  const box = input.closest('[data-file]')
  box.querySelector('label').hidden = false
  input.classList.add('hidden-text')
  input.addEventListener('change', async () => {
    const [picked] = input.files
    box.querySelector('[data-chosen]').textContent = picked?.name ?? ''
    if (!picked) return
    // Nothing is sent before it is cut, or what the camera noted would go with it.
    const buttons = input.form.querySelectorAll('button')
    buttons.forEach((button) => { button.disabled = true })
    const [width, height] = input.dataset.picture.split('x').map(Number)
    try {
      const picture = await createImageBitmap(picked)
      const scale = Math.min(picture.width / width, picture.height / height)
      const [cutWidth, cutHeight] = [width * scale, height * scale]
      const canvas = Object.assign(document.createElement('canvas'), { width, height })
      canvas.getContext('2d').drawImage(
        picture, (picture.width - cutWidth) / 2, (picture.height - cutHeight) / 2, cutWidth, cutHeight,
        0, 0, width, height)
      let blob = await toBlob(canvas, 'image/webp')
      if (blob.type !== 'image/webp') blob = await toBlob(canvas, 'image/jpeg')
      const chosen = new DataTransfer()
      chosen.items.add(new File([blob], 'picture', { type: blob.type }))
      input.files = chosen.files
    } catch { /* not a picture: the server says so */ }
    buttons.forEach((button) => { button.disabled = false })
  })
})
