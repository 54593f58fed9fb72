// Everything that takes time, away from the page: pictures in, faces out, one after another.

import { start } from "./engine.js";
import { face } from "./face.js";
import { CROP } from "./picture.js";
import { read, readUpright } from "./reader.js";
import { glance, near, search } from "./search.js";
import { Tracker } from "./tracker.js";
import { Plain } from "./words.js";

const LIVE = 320; // pixels: the longer side of the copy in which a frame's faces are looked for,
const CLOSER = 640; // and of the one where that shows fewer than there were
const [WINDOW, PART] = [96, 0.5]; // a followed face fills half of a window of so many pixels
const SMOOTHING = 0.5; // seconds: the time constant of the probabilities, as in `ferlib.video`
const CROP_SIDE = 100; // a square picture of at most this side is a face that was cut out already

let engine = null;
let tracker = null;
let canvas = null;
let last = Promise.resolve();

const WORK = { start: begin, picture: onPicture, frame: onFrame, forget };

/** One thing after another: a network is not asked twice at once. */
self.onmessage = ({ data }) => {
  last = last.then(() => work(data));
};

async function work(message) {
  try {
    const answer = await WORK[message.kind](message);
    self.postMessage({ ...answer, kind: message.kind, number: message.number });
  } catch (error) {
    const ours = error instanceof Plain;
    if (!ours) console.warn(error);
    const text = ours ? error.message : await otherwise(message.kind).catch(() => FAILED.frame);
    self.postMessage({ kind: "failed", of: message.kind, number: message.number, text });
  }
}

const NOT_STARTED = "The page could not be started in this browser: try a newer one.";
const FAILED = {
  start: NOT_STARTED,
  picture: "This picture could not be read: it may be too large for this browser.",
  frame: "A frame of the camera could not be read: load the page again.",
};

/** What is said of a failure; one of a graphics processor, which can get lost, is the last. */
async function otherwise(kind) {
  if (engine?.name !== "webgpu") return FAILED[kind] ?? FAILED.frame;
  await begin({ wanted: "wasm", threads: null });
  return "The graphics processor failed: the page goes on without it. Try again.";
}

async function begin({ wanted, threads }) {
  if (typeof OffscreenCanvas !== "function") throw new Plain(NOT_STARTED);
  engine = await start(wanted, threads);
  forget();
  const { name, threads: used, files, classes, colours } = engine;
  return { engine: name, threads: used, files, classes, colours };
}

function forget() {
  tracker = new Tracker(find, (picture, box) => near(engine.detect, picture, box, WINDOW, PART));
  return {};
}

async function find(picture) {
  const rows = await glance(engine.detect, picture, LIVE);
  if (rows.length >= Math.max(1, tracker.shown().length)) return rows;
  return glance(engine.detect, picture, CLOSER);
}

async function onPicture({ bitmap }) {
  const started = performance.now();
  const picture = pixels(bitmap, true);
  const rows = await search(engine.detect, picture);
  const crop = !rows.length && isCrop(picture);
  const faces = crop ? [await ofCrop(picture)] : await ofRows(picture, rows);
  return { faces, milliseconds: performance.now() - started };
}

async function ofRows(picture, rows) {
  const seen = await readUpright(engine, picture, rows);
  return seen.map(({ roll, probabilities }, k) =>
    face(k + 1, rows[k], rows[k][4], probabilities, engine.classes, picture, roll),
  );
}

/** All of the picture as one face, as it is. */
async function ofCrop(picture) {
  const side = picture.width / CROP;
  const edge = (picture.width - side) / 2;
  const box = [edge, edge, side, side];
  const [probabilities] = await read(engine, picture, [box]);
  return face(1, box, 1, probabilities, engine.classes, picture);
}

async function onFrame({ bitmap, seconds }) {
  const started = performance.now();
  const picture = pixels(bitmap);
  const tracks = await tracker.update(picture, seconds);
  const rows = await read(engine, picture, tracks.map((track) => track.box));
  const faces = tracks.map((track, k) => {
    const smooth = track.smooth(rows[k], seconds, SMOOTHING);
    return face(track.id, track.box, track.confidence, smooth, engine.classes, picture);
  });
  const { looked } = tracker;
  return { faces, seconds, looked, milliseconds: performance.now() - started };
}

/** @returns {import("./picture.js").Picture} what is transparent lies on white */
function pixels(bitmap, white = false) {
  const { width, height } = bitmap;
  if (canvas?.width !== width || canvas?.height !== height) {
    canvas = new OffscreenCanvas(width, height);
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (white) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

function isCrop({ width, height }) {
  return width === height && width <= CROP_SIDE;
}
