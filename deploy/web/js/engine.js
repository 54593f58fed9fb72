// onnxruntime-web and the three networks: WebGPU where there is one and it gives the same answers,
// WebAssembly otherwise. Every file lies beside the page.

import { decode, planes } from "./detector.js";
import { ROLL_SIDE } from "./reader.js";
import { Plain } from "./words.js";

/** The page's folder. */
const HERE = new URL("..", import.meta.url);
const RUNTIMES = {
  wasm: { module: "ort.wasm.min.mjs", binary: "ort-wasm-simd-threaded" },
  webgpu: { module: "ort.webgpu.min.mjs", binary: "ort-wasm-simd-threaded.asyncify" },
};
const NOT_RUN = "could not be started in this browser: use a newer one.";
const SLOW = 30; // milliseconds for a small frame: WebAssembly is quicker than that
const NEAR = 1e-3; // how far a probability may lie from the one that Python computed
const NEAR_LEVEL = 1e-2; // the detector's numbers are logits and parts of strides

/**
 * @typedef {object} Engine
 * @property {string} name "webgpu" or "wasm"
 * @property {number} threads
 * @property {string[]} files of the runtime, which the page keeps for later
 * @property {import("./search.js").Detect} detect
 * @property {import("./reader.js").Net} read
 * @property {import("./reader.js").Net} roll
 * @property {number} side of what `read` takes, in pixels
 * @property {number[]} angles degrees, of the classes of `roll`
 * @property {() => Promise<void>} release gives its memory back
 * @property {string[]} classes
 * @property {Record<string, string>} colours of the classes
 */

/**
 * @param {string | null} [wanted] "wasm" or "webgpu" where it is not to be chosen
 * @param {number | null} [threads] where it is not to be chosen
 * @returns {Promise<Engine>}
 */
export async function start(wanted = null, threads = null) {
  if (typeof WebAssembly !== "object") {
    throw new Plain("This browser has no WebAssembly, or has it switched off: use a newer one.");
  }
  const about = JSON.parse(new TextDecoder().decode(await fetched("models/about.json")));
  const names = Object.keys(about.files);
  const several = await Promise.all(names.map((name) => model(name, about.files[name])));
  const files = Object.fromEntries(names.map((name, k) => [name, several[k]]));
  const gpu = await onGpu(wanted, about, files).catch(() => null);
  if (gpu) return gpu;
  const engine = await opened("wasm", about, files, threads ?? cores());
  if (await agrees(engine, about.probe)) return engine;
  throw new Plain("This browser computes other numbers than Python does: use another one.");
}

/** The engine where there is a graphics processor that answers alike, and soon; else null. */
async function onGpu(wanted, about, files) {
  if (wanted !== "webgpu" && (wanted || !(await hasGpu()))) return null;
  const engine = await opened("webgpu", about, files, 1);
  const usable = (await agrees(engine, about.probe)) && (wanted || (await isQuick(engine)));
  if (!usable) await engine.release();
  return usable ? engine : null;
}

async function fetched(path) {
  const missing = `${path} is missing: build the page again with \`ferlib web\`.`;
  const answer = await fetch(new URL(path, HERE)).catch(() => null);
  if (!answer?.ok) throw new Plain(missing);
  return answer.arrayBuffer().catch(() => {
    throw new Plain(missing);
  });
}

async function model(name, { file, bytes }) {
  return { name, file, data: new Uint8Array(await whole(file, bytes)) };
}

async function whole(file, bytes) {
  const found = await fetched(file);
  if (found.byteLength !== bytes) throw broken(file);
  return found;
}

function broken(file) {
  return new Plain(`${file} is broken off or damaged: build the page again with \`ferlib web\`.`);
}

/** Whether there is a graphics processor; one that is emulated is slower than WebAssembly. */
async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

/** Half of the cores, as the page and the camera need some too; one where sharing is not allowed. */
function cores() {
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.min(4, Math.max(1, Math.floor((navigator.hardwareConcurrency ?? 1) / 2)));
}

async function opened(name, about, files, threads) {
  const { module, binary } = RUNTIMES[name];
  const used = [module, `${binary}.mjs`, `${binary}.wasm`].map((one) => `ort/${one}`);
  const [script, mjs, wasm] = used.map((one) => new URL(one, HERE).href);
  const check = () => Promise.all(used.map((one) => whole(one, about.runtime[one])));
  const failed = async (text) => {
    await check(); // the likeliest reason, and the one that can be told
    throw new Plain(text);
  };
  const ort = await import(script).catch(() => failed(`${used[0]} ${NOT_RUN}`));
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { mjs, wasm };
  ort.env.wasm.numThreads = threads;
  const sessions = {};
  for (const [key, file] of Object.entries(files)) sessions[key] = await session(ort, file, name, failed);
  const { side, angles, classes, colours } = about;
  const net = (key) => (crops) => answers(ort, sessions[key], crops);
  const detect = (picture) => found(ort, sessions.detector, picture);
  const release = async () => {
    for (const one of Object.values(sessions)) await one.release();
  };
  return {
    ...{ name, threads, files: used, side, angles, classes, colours, detect, release },
    ...{ read: net("reader"), roll: net("roll"), levels: levels(ort, sessions.detector) },
  };
}

async function session(ort, { file, data }, provider, failed) {
  const how = { executionProviders: [provider], logSeverityLevel: 3 };
  try {
    return await ort.InferenceSession.create(data, how);
  } catch (error) {
    if (/protobuf|ModelProto|parsing model/i.test(String(error))) throw broken(file);
    return failed(`onnxruntime-web ${NOT_RUN}`);
  }
}

/** Squares of the net's side -> a row of probabilities for each. */
async function answers(ort, session, crops) {
  if (!crops.length) return [];
  const side = crops[0].width;
  const data = new Uint8Array(crops.length * side * side);
  crops.forEach((crop, k) => data.set(crop.data, k * side * side));
  const asked = { crops: new ort.Tensor("uint8", data, [crops.length, side, side]) };
  const { probabilities } = await session.run(asked);
  const count = probabilities.dims[1];
  return crops.map((_, k) => probabilities.data.slice(k * count, (k + 1) * count));
}

function levels(ort, session) {
  return async (picture) => {
    const { data, dims } = planes(picture);
    const given = await session.run({ data: new ort.Tensor("float32", data, dims) });
    return session.outputNames.map((name) => given[name]);
  };
}

async function found(ort, session, picture) {
  return decode(await levels(ort, session)(picture));
}

/** Whether a made-up picture gets the answers that it got when the page was built. */
async function agrees(engine, probe) {
  const square = (side) => ({ width: side, height: side, data: pattern(side * side) });
  const picture = { width: 64, height: 64, data: pattern(64 * 64 * 4) };
  const [read] = await engine.read([square(engine.side)]);
  const [roll] = await engine.roll([square(ROLL_SIDE)]);
  const seen = (await engine.levels(picture)).flatMap((level) => Array.from(level.data));
  const some = probe.levels.map((_, k) => seen[k * probe.step]);
  const apart = (one, other) => Math.max(...one.map((value, k) => Math.abs(value - other[k])));
  const most = Math.max(apart(probe.read, read), apart(probe.roll, roll));
  return most < NEAR && apart(probe.levels, some) < NEAR_LEVEL;
}

/** Whether a frame's faces are found within its time; some graphics processors take longer. */
async function isQuick(engine) {
  const picture = { width: 320, height: 240, data: pattern(320 * 240 * 4) };
  await engine.detect(picture); // the first time its code is compiled
  const started = performance.now();
  await engine.detect(picture);
  return performance.now() - started < SLOW;
}

/** Numbers that Python makes as well: `ferlib.serving.web`. */
function pattern(count) {
  return Uint8Array.from({ length: count }, (_, k) => (k * k + 31 * (k % 57)) % 256);
}
