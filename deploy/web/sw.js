// Keeps the page's own files, so that it opens without a network. A new build waits until no page
// of the old one is open any more. The page itself adds the runtime that it uses (js/offline.js).

importScripts("files.js");

const KEPT = `ferlib-${self.VERSION}`;

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

/** All of this build, asked for anew, and the runtime that the build before it was used with. */
async function fill() {
  const cache = await caches.open(KEPT);
  const files = [...self.FILES, ...(await runtime())];
  await cache.addAll(files.map((file) => new Request(file, { cache: "no-cache" })));
}

async function runtime() {
  const caught = await Promise.all((await old()).map((name) => caches.open(name)));
  const kept = await Promise.all(caught.map((cache) => cache.keys()));
  return new Set(kept.flat().map(({ url }) => url).filter((url) => url.includes("/ort/")));
}

async function dropOld() {
  await Promise.all((await old()).map((name) => caches.delete(name)));
}

async function old() {
  const names = await caches.keys();
  return names.filter((name) => name.startsWith("ferlib-") && name !== KEPT);
}

async function kept(request) {
  const cache = await caches.open(KEPT);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
