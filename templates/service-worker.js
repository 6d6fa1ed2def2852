// Shows the offline page when there is no network. Pages are never kept: what they say of money
// would be old.

const KEPT = 'coinos-{{ version }}'
const OFFLINE = '{{ offline }}'
const ASSETS = [{% for asset in assets %}'{{ asset }}', {% endfor %}]

self.addEventListener('install', (event) => {
  const requests = [OFFLINE, ...ASSETS].map((path) => new Request(path, { cache: 'reload', credentials: 'omit' }))
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(requests)).then(() => self.skipWaiting()))
})

self.addEventListener('activate', (event) => {
  const old = (name) => name.startsWith('coinos-') && name !== KEPT
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))))
})

self.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method !== 'GET') return
  if (request.mode === 'navigate') {
    event.respondWith(fetch(request).catch(() => caches.match(OFFLINE)))
  } else if (ASSETS.includes(new URL(request.url).pathname)) {
    event.respondWith(fetch(request).catch(() => caches.match(request)))
  }
})
