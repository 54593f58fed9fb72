// The page: buttons, camera and pictures, and where what was read is shown.

import { Asked } from "./asked.js";
import { Camera } from "./camera.js";
import { Cards } from "./cards.js";
import { table } from "./csv.js";
import { opened, takeDrops } from "./files.js";
import { Heard } from "./heard.js";
import { fillLegend, fillSamples } from "./lists.js";
import { mark } from "./marks.js";
import { keep } from "./offline.js";
import { Timeline } from "./timeline.js";
import { Plain, told } from "./words.js";

const MOST_ROWS = 100_000; // an hour of one face; the oldest go first
const AT_ONCE = 2; // frames on their way to the worker and back
const WIDEST = 1600; // pixels of what is shown of a large picture
const NOT_READ = "This picture could not be read: try another one.";

const at = (id) => document.getElementById(id);
const asked = new Asked(new URL("worker.js", import.meta.url));
const camera = new Camera(at("video"));
const heard = new Heard(at("heard"));
const seen = [];
const shown = { faces: [], size: { width: 4, height: 3 }, live: false, mean: 0 };
let parts = null; // what needs the names and colours of the classes
let starting = 0; // the number of a camera that does not run yet, 0 for none
let early = null; // a picture that was dropped before it could be read
let current = 0; // of pictures and camera: what belongs to an earlier one is no longer shown

document.body.dataset.begun = "yes"; // for first.js
begin().catch((error) => fail(told(error, "The page could not be started: load it again.")));

async function begin() {
  takeDrops(at("stage"), take); // from the first moment, or the browser would open the picture itself
  const query = new URLSearchParams(location.search);
  const most = navigator.hardwareConcurrency ?? 1;
  const threads = Math.min(Number(query.get("threads")), most) || null;
  const engine = await asked.ask("start", { wanted: query.get("engine"), threads });
  const { classes, colours } = engine;
  parts = {
    classes,
    colours,
    cards: new Cards(at("faces"), classes, colours),
    timeline: new Timeline(at("timeline"), classes, colours),
  };
  fillLegend(at("legend"), classes, colours);
  fillSamples(at("samples"), (name) => readSample(name));
  connect();
  const name = engine.engine === "webgpu" ? "WebGPU" : "WebAssembly";
  Object.assign(document.body.dataset, { engine: engine.engine, threads: engine.threads });
  say(`Ready, with ${name}`);
  if (await keep(engine.files)) say("Ready to be used without a network");
}

function connect() {
  at("camera").addEventListener("click", () => {
    if (camera.runs && !starting) stop();
    else live(() => camera.start());
  });
  at("turn").addEventListener("click", () => live(() => camera.turn()));
  at("file").addEventListener("change", ({ target }) => {
    if (target.files.length) readFile(target.files[0], target.files[0].name);
    target.value = ""; // so that the same file can be chosen again
  });
  at("save").addEventListener("click", save);
  at("clear").addEventListener("click", clear);
  camera.ended = () => broken(new Plain("The camera has gone: plug it in, and start it again."));
  new ResizeObserver(redraw).observe(at("stage"));
  for (const id of ["camera", "file"]) at(id).disabled = false;
  if (early) take(...early);
}

// -------------------------------------------------- pictures

function take(file, count) {
  if (!parts) early = [file, count];
  else readFile(file, file.name);
  if (parts && count > 1) fail(`The first of ${count} pictures is read: drop them one by one.`);
}

async function readSample(name) {
  const before = current;
  const file = await fetch(new URL(`../samples/${name}`, import.meta.url))
    .then((answer) => (answer.ok ? answer.blob() : null))
    .catch(() => null);
  if (before !== current) return; // something else was chosen in the meantime
  if (file) readFile(file, name);
  else fail(`The sample ${name} is missing: build the page again with \`ferlib web\`.`);
}

async function readFile(file, name) {
  fail("");
  if (shown.live) stop();
  halt(); // also a camera that is about to start
  const mine = (current += 1);
  document.body.dataset.read = "";
  try {
    const bitmap = await opened(file);
    if (mine !== current) return bitmap.close();
    showPicture(bitmap);
    const { faces, milliseconds } = await asked.ask("picture", { bitmap }, [bitmap]);
    if (mine === current) pictureRead(name, faces, milliseconds);
  } catch (error) {
    if (mine === current) notRead(told(error, NOT_READ));
  }
}

function showPicture(bitmap) {
  const { width, height } = bitmap;
  const scale = Math.min(1, WIDEST / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  Object.assign(at("picture"), { width: size[0], height: size[1] });
  at("picture").getContext("2d").drawImage(bitmap, 0, 0, ...size);
  enter("picture", { width, height });
  heard.clear();
  at("hint").textContent = "Reading …";
  at("hint").hidden = false;
}

function pictureRead(source, faces, milliseconds) {
  keepRows(faces.map((face) => ({ source, frame: null, seconds: null, face })));
  document.body.dataset.read = source;
  show(faces, "No face was found in this picture.");
  heard.tell(source, faces);
  spent(milliseconds, "");
  at("time-title").textContent = `Kept so far: ${seen.length} ${seen.length === 1 ? "row" : "rows"}`;
}

function notRead(text) {
  fail(text);
  at("hint").textContent = "Faces appear here, each with eight bars.";
}

// -------------------------------------------------- the camera

async function live(start) {
  if (starting) return;
  fail("");
  const mine = (current += 1);
  wait(mine);
  try {
    await asked.ask("forget");
    if (mine === current) await start();
    if (mine !== current) return; // a picture was chosen in the meantime
    wait(0);
    await follow(mine);
  } catch (error) {
    if (mine === current) broken(error);
  }
}

/** Buttons that wait are not disabled: they would lose the focus of who pressed them. */
function wait(number) {
  starting = number;
  for (const id of ["camera", "turn"]) at(id).setAttribute("aria-disabled", String(number > 0));
}

function halt() {
  camera.stop();
  wait(0);
}

/** While one frame is read the next is taken, so that neither waits for the other. */
async function follow(mine) {
  const { videoWidth: width, videoHeight: height } = at("video");
  enter("camera", { width, height });
  heard.clear();
  parts.timeline.clear();
  at("time-title").textContent = "The last minute";
  const started = performance.now();
  let [frame, waiting] = [0, 0];
  while (mine === current && camera.runs) {
    await new Promise((resolve) => camera.next(resolve));
    if (waiting === AT_ONCE) continue;
    waiting += 1;
    readFrame(mine, frame, started)
      .catch((error) => mine === current && broken(error))
      .finally(() => (waiting -= 1));
    frame += 1;
  }
}

async function readFrame(mine, frame, started) {
  const bitmap = await camera.frame();
  if (mine !== current) return bitmap?.close();
  if (!bitmap) return;
  const seconds = (performance.now() - started) / 1000;
  const size = { width: bitmap.width, height: bitmap.height };
  const answer = await asked.ask("frame", { bitmap, seconds }, [bitmap]);
  if (mine === current) frameRead(answer, frame, size);
}

function broken(error) {
  stop();
  fail(told(error, "The camera could not be started: choose a picture instead."));
}

function frameRead({ faces, seconds, milliseconds }, frame, size) {
  shown.size = size;
  const when = Number(seconds.toFixed(4));
  keepRows(faces.map((face) => ({ source: "camera", frame, seconds: when, face })));
  show(faces, "No face is seen: come a little closer, or into the light.");
  heard.show(faces, seconds);
  parts.timeline.add(faces, seconds);
  document.body.dataset.read = `camera ${frame}`;
  shown.mean = shown.mean ? 0.95 * shown.mean + 0.05 * milliseconds : milliseconds; // a calm number
  spent(shown.mean, " a frame");
}

function stop() {
  current += 1;
  halt();
  heard.clear();
  enter("empty", { width: 4, height: 3 });
  show([], "Faces appear here, each with eight bars.");
}

// -------------------------------------------------- what is shown

/** What the page is about now: "empty", "picture" or "camera". */
function enter(state, size) {
  Object.assign(shown, { size, live: state === "camera", faces: [], mean: 0 });
  Object.assign(document.body.dataset, { state, read: "" });
  at("video").hidden = state !== "camera";
  at("picture").hidden = state !== "picture";
  at("empty").hidden = state !== "empty";
  at("spent").hidden = true;
  at("turn").hidden = !(state === "camera" && camera.several);
  at("camera").textContent = state === "camera" ? "Stop the camera" : "Start the camera";
  at("camera").classList.toggle("live", state === "camera");
  const ratio = Math.min(Math.max(size.width / size.height, 0.8), 2.6);
  at("stage").style.aspectRatio = String(ratio);
  if (state !== "empty") at("bands").hidden = state !== "camera";
  parts.cards.show([]);
  redraw();
}

function show(faces, none) {
  shown.faces = faces;
  parts.cards.show(faces);
  at("hint").hidden = faces.length > 0;
  if (at("hint").textContent !== none) at("hint").textContent = none;
  at("time").hidden = !seen.length;
  redraw();
}

function redraw() {
  const how = { mirrored: shown.live && camera.mirrored, numbers: shown.faces.length > 1 };
  mark(at("marks"), shown.size, shown.faces, parts.colours, how);
}

/** @param {string} of " a frame", or "" for a picture */
function spent(milliseconds, of) {
  at("spent").hidden = false;
  at("spent").textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms${of}`;
}

function say(text) {
  at("state").textContent = text;
  at("state").classList.toggle("ready", text.startsWith("Ready"));
}

/** One plain sentence, or "" to take it away. */
function fail(text) {
  at("alert").textContent = text;
  at("alert").hidden = !text;
  if (text && !parts) say("Not ready");
}

// -------------------------------------------------- the table

function keepRows(rows) {
  seen.push(...rows);
  if (seen.length > MOST_ROWS) seen.splice(0, seen.length - MOST_ROWS);
}

function save() {
  const link = document.createElement("a");
  const file = new Blob([table(seen, parts.classes)], { type: "text/csv" });
  Object.assign(link, { href: URL.createObjectURL(file), download: "faces.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // once it is written
}

function clear() {
  seen.length = 0;
  parts.timeline.clear();
  at("time").hidden = !shown.live;
  if (!shown.live) at("faces-title").focus(); // what had the focus is hidden now
}
