// A short sound when money has arrived, for those who asked for it. Made here: no file to load.
// Browsers are silent until the page has been touched once.

let audio = null
const wake = () => {
  audio ??= new AudioContext()
  audio.resume()
}
document.addEventListener('pointerdown', wake)
document.addEventListener('keydown', wake)

function chime() {
  if (!audio) return
  for (const [hertz, delay] of [[784, 0], [1175, 0.12]]) {
    const tone = audio.createOscillator()
    const volume = audio.createGain()
    const start = audio.currentTime + delay
    tone.frequency.value = hertz
    volume.gain.setValueAtTime(0, start)
    volume.gain.linearRampToValueAtTime(0.2, start + 0.02)
    volume.gain.exponentialRampToValueAtTime(0.001, start + 0.35)
    tone.connect(volume).connect(audio.destination)
    tone.start(start)
    tone.stop(start + 0.4)
  }
}

document.body.addEventListener('arrived', (event) => { if (event.detail.status === 'settled') chime() })
document.querySelectorAll('[data-chime]').forEach((button) => {
  button.hidden = false
  button.addEventListener('click', () => { wake(); chime() })
})
