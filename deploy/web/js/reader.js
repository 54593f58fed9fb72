// From the box of a face to the probabilities of its emotions, as in `ferlib.Recognizer`.

import { cut, crop, gray, sideOf } from "./picture.js";
import { even } from "./numbers.js";
import { resize } from "./resize.js";
import { middle, turn, warp } from "./warp.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").Gray} Gray */
/** @typedef {(crops: Gray[]) => Promise<Float32Array[]>} Net crops of its size -> probabilities */

/** Pixels: of the squares in which the net of angles sees a face. */
export const ROLL_SIDE = 48;
const TURNED = 15; // degrees from which on a face counts as turned
const RADIUS = 0.46; // of the side: beyond it the net of angles sees nothing

/**
 * The faces in these boxes, each turned upright first where its head leans.
 * @param {{read: Net, roll: Net, side: number, angles: number[]}} nets
 * @param {Picture} picture
 * @param {import("./boxes.js").Row[]} rows
 * @returns {Promise<{roll: number, probabilities: Float32Array}[]>}
 */
export async function readUpright(nets, picture, rows) {
  const parts = rows.map((row) => part(picture, row));
  const turns = await rolls(nets, parts.map((one) => inner(one)));
  const crops = parts.map((one, k) => resize(gray(upright(one, turns[k])), nets.side));
  const probabilities = await nets.read(crops);
  return turns.map((roll, k) => ({ roll, probabilities: probabilities[k] }));
}

/**
 * The faces in these boxes as they are, as suits the frames of a video.
 * @param {{read: Net, side: number}} nets
 * @param {Picture} picture
 * @param {ArrayLike<number>[]} boxes
 * @returns {Promise<Float32Array[]>}
 */
export function read(nets, picture, boxes) {
  return nets.read(boxes.map((box) => resize(gray(crop(picture, box)), nets.side)));
}

/** The square, with so much around it as its corners sweep over when it is turned. */
function part(picture, box) {
  const more = Math.floor(sideOf(box) / 4) + 2;
  return { pixels: crop(picture, box, more), more };
}

function inner({ pixels, more }) {
  const side = pixels.width - 2 * more;
  return cut(pixels, more, more, side, side);
}

function upright(whole, degrees) {
  if (!degrees) return inner(whole);
  const side = whole.pixels.width - 2 * whole.more;
  const [from, to] = [whole.pixels.width, side].map((one) => middle(one, one));
  return warp(whole.pixels, turn(-degrees, from, to), side, side);
}

/** Whole degrees, clockwise, and 0 where a face is about upright. */
async function rolls(nets, squares) {
  const rows = await nets.roll(squares.map((one) => inCircle(resize(gray(one), ROLL_SIDE))));
  return rows.map((shares) => {
    const angle = shares.reduce((sum, share, k) => sum + share * nets.angles[k], 0);
    return Math.abs(even(angle)) < TURNED ? 0 : even(angle);
  });
}

/**
 * Flat beyond a circle: corners show what lies around a head, and would give away the angle.
 * @param {Gray} picture a square
 * @returns {Gray}
 */
function inCircle({ width, height, data }) {
  const centre = (width - 1) / 2;
  const inside = (at) =>
    Math.hypot((at % width) - centre, Math.floor(at / width) - centre) <= RADIUS * width;
  const [sum, count] = data.reduce(
    ([total, seen], value, at) => (inside(at) ? [total + value, seen + 1] : [total, seen]),
    [0, 0],
  );
  const mean = Math.trunc(sum / count);
  return { width, height, data: data.map((value, at) => (inside(at) ? value : mean)) };
}
