// Keeps the page's own files, so that it opens without a network. A new build waits until no page
// of the old one is open any more. The page itself adds the runtime that it uses (js/offline.js).

importScripts("files.js");

const HERE = self.registration.scope; // other pages of this host keep theirs
const OURS = `ferlib ${new URL(HERE).pathname} `; // as in js/offline.js
const KEPT = OURS + self.VERSION;

self.addEventListener("install", (event) => {
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOld().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === self.location.origin) {
    event.respondWith(kept(event.request));
  }
});

/** All of this build, asked for anew, and what it still has of the runtime in use before it. */
async function fill() {
  const cache = await caches.open(KEPT);
  const anew = (file) => new Request(file, { cache: "no-cache" });
  await cache.addAll(self.FILES.map(anew));
  for (const file of await runtime()) await cache.add(anew(file)).catch(() => {});
}

async function runtime() {
  const caught = await Promise.all((await old()).map((name) => caches.open(name)));
  const kept = await Promise.all(caught.map((cache) => cache.keys()));
  return new Set(kept.flat().map(({ url }) => url).filter((url) => url.startsWith(`${HERE}ort/`)));
}

async function dropOld() {
  await Promise.all((await old()).map((name) => caches.delete(name)));
}

async function old() {
  const names = await caches.keys();
  return names.filter((name) => name.startsWith(OURS) && name !== KEPT);
}

async function kept(request) {
  const cache = await caches.open(KEPT);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
