// Whether two faces look the same: small gray patches and their correlation, as in
// `ferlib.faces.flow`.

import { crop, gray } from "./picture.js";
import { resize } from "./resize.js";

const SIDE = 24;
const EDGE = 2; // a patch may lie so many pixels aside
const ALIKE = 0.6; // least correlation of two patches of one face

/**
 * A face as the net would get it, smaller.
 * @param {import("./picture.js").Picture} picture
 * @param {ArrayLike<number>} box
 * @returns {Uint8Array} 24 x 24 gray pixels
 */
export function patch(picture, box) {
  return resize(gray(crop(picture, box)), SIDE).data;
}

/**
 * Whether two patches may be one face, a little moved; true where one was not seen alone.
 * @param {Uint8Array | null} one
 * @param {Uint8Array | null} other
 * @returns {boolean}
 */
export function alike(one, other) {
  if (!one || !other) return true;
  const inner = part(one, EDGE, EDGE);
  const shifts = Array.from({ length: 2 * EDGE + 1 }, (_, k) => k);
  return shifts.some((down) =>
    shifts.some((across) => correlation(inner, part(other, across, down)) >= ALIKE),
  );
}

function part(whole, left, top) {
  const side = SIDE - 2 * EDGE;
  const from = (at) => (top + Math.floor(at / side)) * SIDE + left + (at % side);
  return Float32Array.from({ length: side * side }, (_, at) => whole[from(at)]);
}

/** Pearson's; 0 where one of them is flat. */
function correlation(one, other) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [a, b] = [mean(one), mean(other)];
  let [common, first, second] = [0, 0, 0];
  for (let k = 0; k < one.length; k += 1) {
    common += (one[k] - a) * (other[k] - b);
    first += (one[k] - a) ** 2;
    second += (other[k] - b) ** 2;
  }
  return first && second ? common / Math.sqrt(first * second) : 0;
}
