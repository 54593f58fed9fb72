// A face as it is shown and written: its box within the picture, six decimals, the likeliest class.

import { even, within } from "./numbers.js";

/**
 * @typedef {object} Face
 * @property {number} id 1, 2, ... in a video the same over its frames
 * @property {number[]} box whole x, y, width, height, brow to chin, within the picture
 * @property {number} confidence of the detector, 0 to 1
 * @property {string} emotion
 * @property {Record<string, number>} scores a probability for each class
 * @property {number} roll degrees by which the head is turned, clockwise
 */

/**
 * @param {number} id
 * @param {ArrayLike<number>} box
 * @param {number} confidence
 * @param {ArrayLike<number>} probabilities
 * @param {string[]} classes
 * @param {{width: number, height: number}} size of the picture
 * @param {number} [roll]
 * @returns {Face}
 */
export function face(id, box, confidence, probabilities, classes, { width, height }, roll = 0) {
  const [left, right] = [box[0], box[0] + box[2]].map((x) => within(even(x), 0, width));
  const [top, bottom] = [box[1], box[1] + box[3]].map((y) => within(even(y), 0, height));
  const six = (value) => Number(value.toFixed(6));
  const scores = Object.fromEntries(classes.map((name, k) => [name, six(probabilities[k])]));
  const emotion = classes.reduce((best, name) => (scores[name] > scores[best] ? name : best));
  const sure = Number(confidence.toFixed(4));
  return { id, box: [left, top, right - left, bottom - top], confidence: sure, emotion, scores, roll };
}
