// Make a chosen picture small and square before it is sent: the server takes 200 kB and changes
// nothing. What the camera noted in the file (place, time) stays behind, too.

const SIDE = 256

const toBlob = (canvas, type) => new Promise((done) => canvas.toBlob(done, type, 0.85))

document.querySelectorAll('input[type=file][data-picture]').forEach((input) => {
  input.addEventListener('change', async () => {
    const [picked] = input.files
    if (!picked) return
    try {
      const picture = await createImageBitmap(picked)
      const side = Math.min(picture.width, picture.height)
      const canvas = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE })
      canvas.getContext('2d').drawImage(
        picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, SIDE, SIDE)
      let blob = await toBlob(canvas, 'image/webp')
      if (blob.type !== 'image/webp') blob = await toBlob(canvas, 'image/jpeg')
      const chosen = new DataTransfer()
      chosen.items.add(new File([blob], 'picture', { type: blob.type }))
      input.files = chosen.files
    } catch { /* not a picture: the server says so */ }
  })
})
