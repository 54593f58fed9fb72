// Copies of a photograph in another size, for the detector, as OpenCV makes them: areas averaged
// where it shrinks, weights of 11 bits between neighbours where it grows. Where a copy differs, a
// box can move by a pixel, and with it what is read.

import { even, within } from "./numbers.js";

const { fround } = Math; // OpenCV adds up in float32, one product after another

/**
 * @param {import("./picture.js").Picture} picture
 * @param {number} scale by which it gets larger, at least 1 pixel a side
 * @returns {import("./picture.js").Picture} the same one where the size stays
 */
export function scaled(picture, scale) {
  const width = Math.max(1, even(picture.width * scale));
  const height = Math.max(1, even(picture.height * scale));
  if (width === picture.width && height === picture.height) return picture;
  const shrinks = scale < 1 && width <= picture.width && height <= picture.height;
  return shrinks ? averaged(picture, width, height) : between(picture, width, height);
}

/**
 * Each pixel the mean of the area that it stands for (INTER_AREA).
 * @param {import("./picture.js").Picture} picture
 * @param {number} width
 * @param {number} height
 * @returns {import("./picture.js").Picture}
 */
function averaged(picture, width, height) {
  if (width * 2 === picture.width && height * 2 === picture.height) return halved(picture);
  const [columns, rows] = [areas(picture.width, width), areas(picture.height, height)];
  const [sums, row] = [new Float32Array(width * 4), new Float32Array(width * 4)];
  const out = new Uint8Array(width * height * 4);
  for (let y = 0, used = 0, held = -1; y < height; y += 1) {
    sums.fill(0);
    for (let k = 0; k < rows.count[y]; k += 1, used += 1) {
      const from = rows.first[y] + k; // one may lie in two areas
      if (from !== held) shrinkRow(picture, from, columns, row);
      held = from;
      const weight = rows.weights[used];
      for (let at = 0; at < row.length; at += 1) sums[at] += fround(weight * row[at]);
    }
    for (let at = 0, to = y * width * 4; at < sums.length; at += 1) out[to + at] = even(sums[at]);
  }
  return { width, height, data: out };
}

/** The mean of each four pixels, in whole numbers, a half upward. */
function halved(picture) {
  const [width, height, row] = [picture.width / 2, picture.height / 2, picture.width * 4];
  const [data, out] = [picture.data, new Uint8Array(width * height * 4)];
  for (let y = 0, to = 0; y < height; y += 1) {
    for (let x = 0, at = 2 * y * row; x < width; x += 1, at += 8, to += 4) {
      for (let k = at; k < at + 3; k += 1) {
        out[to + k - at] = (data[k] + data[k + 4] + data[k + row] + data[k + row + 4] + 2) >> 2;
      }
    }
  }
  return { width, height, data: out };
}

/**
 * Which pixels lie in each area, and how much of them: the first, how many, and their weights, one
 * area's after another's. Flat arrays, as this is done for every pixel of a camera's picture.
 */
function areas(before, after) {
  const scale = before / after;
  const [first, count, weights] = [new Int32Array(after), new Int32Array(after), []];
  for (let to = 0; to < after; to += 1) {
    const [start, end] = [to * scale, Math.min((to + 1) * scale, before)];
    const whole = Math.min(scale, before - start);
    first[to] = start - Math.floor(start) > 1 - 1e-3 ? Math.ceil(start) : Math.floor(start);
    for (let from = first[to]; from < end - 1e-3; from += 1, count[to] += 1) {
      weights.push((Math.min(from + 1, end) - Math.max(from, start)) / whole);
    }
  }
  return { first, count, weights: Float32Array.from(weights) };
}

function shrinkRow({ width, data }, y, { first, count, weights }, row) {
  for (let x = 0, used = 0, at = 0; x < first.length; x += 1, at += 4) {
    let red = 0;
    let green = 0;
    let blue = 0;
    const end = used + count[x];
    for (let from = (y * width + first[x]) * 4; used < end; used += 1, from += 4) {
      const weight = weights[used];
      red = fround(red + fround(weight * data[from]));
      green = fround(green + fround(weight * data[from + 1]));
      blue = fround(blue + fround(weight * data[from + 2]));
    }
    row[at] = red;
    row[at + 1] = green;
    row[at + 2] = blue;
  }
}

/**
 * Each pixel between its four neighbours (INTER_LINEAR).
 * @param {import("./picture.js").Picture} picture
 * @param {number} width
 * @param {number} height
 * @returns {import("./picture.js").Picture}
 */
export function between(picture, width, height) {
  const columns = neighbours(picture.width, width, true);
  const rows = neighbours(picture.height, height, false);
  const out = new Uint8Array(width * height * 4);
  for (let y = 0, to = 0; y < height; y += 1) {
    const above = rows.first[y] * picture.width;
    const below = rows.second[y] * picture.width;
    for (let x = 0; x < width; x += 1, to += 4) {
      const [left, right] = [columns.first[x], columns.second[x]];
      mix(picture.data, above + left, above + right, columns.far[x], below - above, rows.far[y], out, to);
    }
  }
  return { width, height, data: out };
}

/** Of the pixels `left` and `right` and those `down` further, weighted in parts of 2048. */
function mix(data, left, right, across, down, far, out, to) {
  for (let k = 0; k < 3; k += 1) {
    const [a, b] = [data[left * 4 + k], data[right * 4 + k]];
    const [c, d] = [data[(left + down) * 4 + k], data[(right + down) * 4 + k]];
    const above = (a * (2048 - across) + b * across) >> 4;
    const below = (c * (2048 - across) + d * across) >> 4;
    out[to + k] = ((((2048 - far) * above) >> 16) + ((far * below) >> 16) + 2) >> 2;
  }
}

/**
 * Which two pixels each lies between, and the weight of the second one. Beyond the border it is the
 * same pixel twice; OpenCV gives it its whole weight at once only where it is `merged`, and else
 * rounds twice.
 */
function neighbours(before, after, merged) {
  const [first, second, far] = [0, 1, 2].map(() => new Int32Array(after));
  for (let to = 0; to < after; to += 1) {
    const place = fround((to + 0.5) * (before / after) - 0.5);
    const low = Math.floor(place);
    const beyond = merged && (low < 0 || low >= before - 1);
    first[to] = within(low, 0, before - 1);
    second[to] = within(low + 1, 0, before - 1);
    far[to] = beyond ? 0 : even(fround(place - low) * 2048);
  }
  return { first, second, far };
}
