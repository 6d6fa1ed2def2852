// Scan a QR code with the camera, or read it from a picture. The browser's own detector where
// there is one; elsewhere (Firefox, Safari) jsQR, which is fetched on first use only.

const open = document.querySelector('[data-scan]')
const dialog = document.querySelector('#scanner')
const video = dialog.querySelector('video')
const file = dialog.querySelector('input')
const torch = dialog.querySelector('[data-torch]')
const says = dialog.querySelector('[role=status]')
const field = document.querySelector(dialog.dataset.into)
const canvas = document.createElement('canvas')
const EVERY_MS = 150
const MOST_PIXELS = 1000 // a side; more is slow and reads no better

let decode = null // picture → Promise of the text, or of undefined

async function decoder() {
  if (decode) return decode
  const formats = 'BarcodeDetector' in window ? await window.BarcodeDetector.getSupportedFormats() : []
  if (formats.includes('qr_code')) {
    const detector = new window.BarcodeDetector({ formats: ['qr_code'] })
    decode = async (picture) => (await detector.detect(picture))[0]?.rawValue
  } else {
    await new Promise((loaded, failed) => {
      const script = document.createElement('script')
      script.src = dialog.dataset.decoder
      script.onload = loaded
      script.onerror = failed
      document.head.append(script)
    })
    decode = async (picture) => {
      const { data, width, height } = pixels(picture)
      return window.jsQR(data, width, height)?.data
    }
  }
  return decode
}

function pixels(picture) {
  const width = picture.videoWidth || picture.width
  const height = picture.videoHeight || picture.height
  const scale = Math.min(1, MOST_PIXELS / Math.max(width, height))
  canvas.width = Math.round(width * scale)
  canvas.height = Math.round(height * scale)
  const context = canvas.getContext('2d', { willReadFrequently: true })
  context.drawImage(picture, 0, 0, canvas.width, canvas.height)
  return context.getImageData(0, 0, canvas.width, canvas.height)
}

function found(text) {
  field.value = text
  dialog.close()
  field.form.requestSubmit()
}

async function watch() {
  says.textContent = ''
  dialog.showModal()
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } })
    if (!dialog.open) return stop(stream) // closed while the browser asked
    video.srcObject = stream
    await video.play()
    const [track] = stream.getVideoTracks()
    torch.hidden = !track.getCapabilities?.().torch
    const read = await decoder()
    while (dialog.open) {
      const text = video.readyState >= 2 && await read(video)
      if (text && dialog.open) return found(text)
      await new Promise((next) => setTimeout(next, EVERY_MS))
    }
  } catch {
    says.textContent = dialog.dataset.noCamera
  }
}

function stop(stream) {
  stream?.getTracks().forEach((track) => track.stop())
}

dialog.addEventListener('close', () => {
  stop(video.srcObject)
  video.srcObject = null
  torch.hidden = true
  torch.setAttribute('aria-pressed', 'false')
})
torch.addEventListener('click', () => {
  const on = torch.getAttribute('aria-pressed') !== 'true'
  torch.setAttribute('aria-pressed', String(on))
  video.srcObject?.getVideoTracks()[0].applyConstraints({ advanced: [{ torch: on }] })
})
dialog.querySelector('[data-close]').addEventListener('click', () => dialog.close())

file.addEventListener('change', async () => {
  const [picked] = file.files
  file.value = ''
  if (!picked) return
  try {
    const picture = await createImageBitmap(picked)
    const text = await (await decoder())(picture)
    if (text) return found(text)
  } catch { /* not a picture: says so below */ }
  says.textContent = dialog.dataset.noCode
})

open.addEventListener('click', watch)
open.hidden = false
if (location.hash === '#scan') watch()
