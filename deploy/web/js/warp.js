// Pictures turned, as OpenCV's warpAffine turns them. Angles are degrees, clockwise as seen.

import { even } from "./numbers.js";
import { blank } from "./picture.js";

/** @typedef {[number, number, number, number, number, number]} Matrix two rows of three */

/**
 * Of a picture, counted from the middle of its first pixel.
 * @param {number} width
 * @param {number} height
 * @returns {[number, number]}
 */
export function middle(width, height) {
  return [(width - 1) / 2, (height - 1) / 2];
}

/**
 * Turns clockwise and takes the point `from` to `to`.
 * @param {number} degrees
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @returns {Matrix}
 */
export function turn(degrees, from, to) {
  const angle = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const x = to[0] - (cos * from[0] - sin * from[1]);
  const y = to[1] - (sin * from[0] + cos * from[1]);
  return [cos, -sin, x, sin, cos, y];
}

/**
 * @param {Matrix} matrix
 * @returns {Matrix} what takes points back
 */
export function inverse([a, b, c, d, e, f]) {
  const size = a * e - b * d;
  const [ia, ib, id, ie] = [e / size, -b / size, -d / size, a / size];
  return [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)];
}

/**
 * A picture under a matrix, black beyond its edges. Places are counted in parts of 1/32 pixel, as
 * OpenCV counts them.
 * @param {import("./picture.js").Picture} picture
 * @param {Matrix} matrix
 * @param {number} width of what comes out
 * @param {number} height
 * @returns {import("./picture.js").Picture}
 */
export function warp(picture, matrix, width, height) {
  const out = blank(width, height);
  const [a, b, c, d, e, f] = inverse(matrix);
  for (let y = 0, to = 0; y < height; y += 1) {
    const [startX, startY] = [even((b * y + c) * 1024) + 16, even((e * y + f) * 1024) + 16];
    for (let x = 0; x < width; x += 1, to += 4) {
      const across = (startX + even(a * x * 1024)) >> 5;
      const down = (startY + even(d * x * 1024)) >> 5;
      sample(picture, across, down, out.data, to);
    }
  }
  return out;
}

/** The pixel at a place in parts of 1/32, between its four neighbours. */
function sample({ width, height, data }, across, down, out, to) {
  const [left, top] = [across >> 5, down >> 5];
  if (left < -1 || top < -1 || left >= width || top >= height) return;
  const [right, low] = [across & 31, down & 31];
  for (let k = 0; k < 3; k += 1) {
    const at = (x, y) =>
      x < 0 || y < 0 || x >= width || y >= height ? 0 : data[(y * width + x) * 4 + k];
    const above = at(left, top) * (32 - right) + at(left + 1, top) * right;
    const below = at(left, top + 1) * (32 - right) + at(left + 1, top + 1) * right;
    out[to + k] = (above * (32 - low) + below * low + 512) >> 10;
  }
}
