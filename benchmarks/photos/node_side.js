// The other end of `photos.Side`: read the photographs of a folder with face-api or human.
//
//     node node_side.js {ssd,tiny,human,human-mesh} {tfjs-node,wasm}
//
// NODE_PATH names the folder where rivals.py installed them. Answers a folder's name with a line
// of JSON: seconds, and for each photograph the boxes with their emotions.
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const [system, backend] = process.argv.slice(2);
const isHuman = system.startsWith('human');
const wasm = backend === 'wasm';
const installed = (name) => path.join(process.env.NODE_PATH, name);
const version = (name) => (
  JSON.parse(fs.readFileSync(path.join(installed(name), 'package.json'))).version
);

async function webAssembly() {
  const tf = require('@tensorflow/tfjs');
  const plugin = require('@tensorflow/tfjs-backend-wasm');
  plugin.setWasmPaths(path.join(installed('@tensorflow/tfjs-backend-wasm'), 'dist/'));
  await tf.setBackend('wasm');
  await tf.ready();
  return tf;
}

async function faceApi() {
  const tf = wasm ? await webAssembly() : require('@tensorflow/tfjs-node');
  const suffix = wasm ? '-wasm' : '';
  const api = require(`@vladmandic/face-api/dist/face-api.node${suffix}.js`);
  const tiny = system === 'tiny';
  const folder = path.join(installed('@vladmandic/face-api'), 'model');
  await api.nets[tiny ? 'tinyFaceDetector' : 'ssdMobilenetv1'].loadFromDisk(folder);
  await api.nets.faceExpressionNet.loadFromDisk(folder);
  const options = tiny ? new api.TinyFaceDetectorOptions() : new api.SsdMobilenetv1Options();
  const read = async (tensor) => {
    const faces = await api.detectAllFaces(tensor, options).withFaceExpressions();
    return faces.map(({ detection: { box }, expressions }) => {
      const emotion = expressions.asSortedArray()[0].expression;
      return [box.x, box.y, box.width, box.height, emotion];
    });
  };
  return { tf, read };
}

async function human() {
  // Node.js fetches no file: addresses, which is how human asks for its models there.
  if (wasm) global.fetch = async (address) => new Response(fs.readFileSync(new URL(address)));
  const tf = wasm ? await webAssembly() : require('@tensorflow/tfjs-node');
  const file = `dist/human.node${wasm ? '-wasm' : ''}.js`;
  const { Human } = require(path.join(installed('@vladmandic/human'), file));
  const off = { enabled: false };
  const reader = new Human({
    backend: wasm ? 'wasm' : 'tensorflow',
    wasmPath: wasm ? path.join(installed('@tensorflow/tfjs-backend-wasm'), 'dist/') : '',
    modelBasePath: `file://${path.join(installed('@vladmandic/human'), 'models')}/`,
    cacheSensitivity: 0,  // no result of one photograph for the next, as in a video
    filter: off, gesture: off, body: off, hand: off, object: off, segmentation: off,
    face: {  // what emotions need, and as many faces as there are, in place of one
      enabled: true, detector: { maxDetected: 100 }, emotion: { enabled: true },
      mesh: { enabled: system === 'human-mesh' },
      iris: off, description: off, antispoof: off, liveness: off, attention: off,
    },
  });
  await reader.load();
  const read = async (tensor) => (await reader.detect(tensor)).face.map(({ box, emotion }) => (
    [...box, emotion && emotion.length ? emotion[0].emotion : null]
  ));
  return { tf, read };
}

async function decode(tf, file) {
  if (!wasm) return tf.node.decodeImage(fs.readFileSync(file), 3);
  const { data, info } = await require('sharp')(file).removeAlpha().raw()
    .toBuffer({ resolveWithObject: true });
  return tf.tensor3d(data, [info.height, info.width, 3], 'int32');
}

async function main() {
  const started = process.hrtime.bigint();
  const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9;
  const say = (what) => fs.writeSync(1, `${JSON.stringify(what)}\n`);
  const { tf, read } = await (isHuman ? human() : faceApi());
  const one = async (file) => {
    const tensor = await decode(tf, file);
    const faces = await read(tensor);
    tensor.dispose();
    return faces;
  };
  const name = isHuman ? '@vladmandic/human' : '@vladmandic/face-api';
  const versions = { node: process.versions.node, [name]: version(name) };
  versions[`tfjs ${backend}`] = version(`@tensorflow/tfjs-${wasm ? 'backend-wasm' : 'node'}`);
  say({ load_seconds: seconds(started), versions });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const files = JSON.parse(line);
    const begun = process.hrtime.bigint();
    const faces = [];
    for (const file of files) faces.push(await one(file));
    say({ seconds: seconds(begun), faces });
  }
}

main();
