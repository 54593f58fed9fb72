// Boxes: how much they overlap, and which of them are of one face.

/** @typedef {number[]} Row x, y, width, height, confidence, and x, y of five landmarks */

/**
 * Intersection over union of two boxes.
 * @param {ArrayLike<number>} one x, y, width, height
 * @param {ArrayLike<number>} other
 * @returns {number} 0 to 1
 */
export function overlap(one, other) {
  const across = Math.min(one[0] + one[2], other[0] + other[2]) - Math.max(one[0], other[0]);
  const down = Math.min(one[1] + one[3], other[1] + other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(across, 0) * Math.max(down, 0);
  return common / Math.max(one[2] * one[3] + other[2] * other[3] - common, 1e-9);
}

/**
 * Of rows whose boxes overlap by more than `most` only the surest, that one first.
 * @param {Row[]} rows
 * @param {number} most
 * @returns {Row[]}
 */
export function apart(rows, most) {
  const kept = [];
  for (const row of surestFirst(rows)) {
    if (kept.every((one) => overlap(one, row) <= most)) kept.push(row);
  }
  return kept;
}

/**
 * @param {Row[]} rows
 * @returns {Row[]} a sorted copy
 */
export function surestFirst(rows) {
  return [...rows].sort((one, other) => other[4] - one[4]);
}

/**
 * How large a face is: the root of its box's area.
 * @param {ArrayLike<number>} box
 * @returns {number} pixels
 */
export function sideOfBox(box) {
  return Math.sqrt(box[2] * box[3]);
}

/**
 * Rows of a copy, in pixels of the picture of which it is a part from (left, top) on.
 * @param {Row[]} rows
 * @param {number} across pixels of the picture to one of the copy
 * @param {number} down
 * @param {number} [left]
 * @param {number} [top]
 * @returns {Row[]}
 */
export function moved(rows, across, down, left = 0, top = 0) {
  return rows.map(([x, y, width, height, sure, ...points]) => [
    x * across + left,
    y * down + top,
    width * across,
    height * down,
    sure,
    ...points.map((value, k) => (k % 2 ? value * down + top : value * across + left)),
  ]);
}
