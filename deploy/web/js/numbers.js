// Whole numbers as Python and OpenCV make them.

/**
 * The nearest whole number, halves to the even one, as Python's round() and NumPy's rint() do.
 * @param {number} value
 * @returns {number}
 */
export function even(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 * @returns {number} the value, or the end of the range that it is beyond
 */
export function within(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
