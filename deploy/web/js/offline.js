// The page without a network: a service worker keeps its files.

/**
 * Keep everything that is needed, the runtime in use included.
 * @param {string[]} runtime names of its files
 * @returns {Promise<boolean>} whether the page can be opened without a network from now on
 */
export async function keep(runtime) {
  try {
    await navigator.serviceWorker.register("sw.js");
    const { scope } = await navigator.serviceWorker.ready;
    const ours = `ferlib ${new URL(scope).pathname} `; // as in sw.js
    const names = (await caches.keys()).filter((name) => name.startsWith(ours));
    await Promise.all(names.map((name) => add(name, runtime)));
    return names.length > 0;
  } catch {
    return false; // not allowed here, as in private windows, or over plain http
  }
}

async function add(name, files) {
  const cache = await caches.open(name);
  for (const file of files) {
    if (!(await cache.match(file))) await cache.add(file);
  }
}
