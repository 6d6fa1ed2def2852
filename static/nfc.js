// Write a link to an NFC tag, in the browsers that can: elsewhere the button stays hidden, and the
// link is copied or printed.

const button = document.querySelector('[data-nfc]')
const says = document.querySelector('#nfc-says')
const PATIENCE_MS = 60000 // for somebody to find the tag, and the place to hold it to
const NOT_AVAILABLE = ['NotAllowedError', 'NotReadableError', 'NotSupportedError', 'SecurityError']
let waiting = false

async function write() {
  if (waiting) return
  waiting = true
  says.textContent = button.dataset.waiting
  try {
    const records = [{ recordType: 'url', data: button.dataset.nfc }]
    await new NDEFReader().write({ records }, { signal: AbortSignal.timeout(PATIENCE_MS) })
    says.textContent = button.dataset.written
  } catch (error) {
    const { unavailable, failed } = button.dataset
    says.textContent = NOT_AVAILABLE.includes(error.name) ? unavailable : failed
  }
  waiting = false
}

if ('NDEFReader' in window) {
  button.hidden = false
  button.addEventListener('click', write)
}
