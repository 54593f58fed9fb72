// What the nets read is shrunk as Pillow's bilinear filter does it, to the bit: the filter widens
// as the picture shrinks, so that nothing aliases, and each of the two passes is rounded. A canvas
// shrinks in a way of its own, which differs from browser to browser.

const BITS = 22; // of the weights behind the point, as in Pillow's Resample.c
const HALF = 2 ** (BITS - 1);

/**
 * @param {import("./picture.js").Gray} picture
 * @param {number} side of the square that comes out
 * @returns {import("./picture.js").Gray}
 */
export function resize(picture, side) {
  const wide = picture.width === side ? picture : across(picture, side);
  return wide.height === side ? wide : down(wide, side);
}

/**
 * For each pixel that comes out: the first that goes in, and the weights of it and its followers.
 * @param {number} before pixels
 * @param {number} after pixels
 * @returns {{first: number, weights: number[]}[]}
 */
function taps(before, after) {
  const scale = before / after;
  const reach = Math.max(scale, 1);
  return Array.from({ length: after }, (_, to) => {
    const centre = (to + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), before);
    const heights = [];
    for (let from = first; from < end; from += 1) {
      heights.push(Math.max(0, 1 - Math.abs((from - centre + 0.5) / reach)));
    }
    const sum = heights.reduce((total, height) => total + height, 0);
    return { first, weights: heights.map((one) => Math.trunc((one / sum) * 2 ** BITS + 0.5)) };
  });
}

function across({ width, height, data }, side) {
  const out = new Uint8Array(side * height);
  taps(width, side).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y += 1) {
      out[y * side + x] = summed(data, y * width + first, 1, weights);
    }
  });
  return { width: side, height, data: out };
}

function down({ width, height, data }, side) {
  const out = new Uint8Array(width * side);
  taps(height, side).forEach(({ first, weights }, y) => {
    for (let x = 0; x < width; x += 1) {
      out[y * width + x] = summed(data, first * width + x, width, weights);
    }
  });
  return { width, height: side, data: out };
}

function summed(data, start, step, weights) {
  let sum = HALF;
  for (let k = 0, at = start; k < weights.length; k += 1, at += step) sum += data[at] * weights[k];
  return sum >> BITS;
}
