// The face detector: libfacedetection's network (Wu, Peng and Yu, 2023), run by onnxruntime.
// What it answers is decoded as in `ferlib.faces.network`.

import { apart, surestFirst } from "./boxes.js";

/** Pixels between the places at which each level looks; sides are multiples of the last one. */
const STRIDES = [8, 16, 32];
const UNSURE = 0.1; // below this confidence nothing is told
const LEAST = Math.log(UNSURE ** 2 / (1 - UNSURE ** 2)); // of both logits: below it, less than that
const SAME = 0.45; // overlap of boxes of one face
const [MOST, KEPT] = [1000, 512]; // boxes before and after

/**
 * Planes of blue, green and red, 0 to 255, filled up with zeros to multiples of 32.
 * @param {import("./picture.js").Picture} picture
 * @returns {{data: Float32Array, dims: number[]}}
 */
export function planes({ width, height, data }) {
  const [wide, high] = [width, height].map((side) => Math.ceil(side / 32) * 32);
  const size = wide * high;
  const out = new Float32Array(3 * size);
  for (let y = 0, from = 0; y < height; y += 1) {
    for (let x = 0, to = y * wide; x < width; x += 1, to += 1, from += 4) {
      out[to] = data[from + 2];
      out[to + size] = data[from + 1];
      out[to + 2 * size] = data[from];
    }
  }
  return { data: out, dims: [1, 3, high, wide] };
}

/**
 * What the network says of one picture -> its faces, the surest first.
 * @param {{data: Float32Array, dims: readonly number[]}[]} levels (1, 16, H / stride, W / stride)
 * @returns {import("./boxes.js").Row[]}
 */
export function decode(levels) {
  const rows = levels.flatMap((level, k) => ofLevel(level, STRIDES[k]));
  return apart(surestFirst(rows).slice(0, MOST), SAME).slice(0, KEPT);
}

function ofLevel({ data, dims }, stride) {
  const width = dims[3];
  const count = dims[2] * width;
  const rows = [];
  for (let place = 0; place < count; place += 1) {
    if (Math.min(data[place], data[5 * count + place]) <= LEAST) continue;
    const values = Array.from({ length: 16 }, (_, k) => data[k * count + place]);
    const row = ofPlace(values, (place % width) * stride, Math.floor(place / width) * stride, stride);
    if (row[4] >= UNSURE) rows.push(row);
  }
  return rows;
}

/** Channels: face, x, y, width, height, frame, five x, y. */
function ofPlace(values, across, down, stride) {
  const sure = 1 / Math.sqrt((1 + Math.exp(-values[0])) * (1 + Math.exp(-values[5])));
  const [width, height] = [Math.exp(values[3]) * stride, Math.exp(values[4]) * stride];
  const x = across + values[1] * stride - width / 2;
  const y = down + values[2] * stride - height / 2;
  const points = values.slice(6).map((value, k) => (k % 2 ? down : across) + value * stride);
  return [x, y, width, height, sure, ...points];
}
