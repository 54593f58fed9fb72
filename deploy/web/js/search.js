// Where the faces of a photograph are: looks of the detector at copies of it, put together as in
// `ferlib.faces.search`, so that the same picture gives the same faces. Sides are in pixels.

import { apart, moved, overlap, sideOfBox, surestFirst } from "./boxes.js";
import { blank, cut } from "./picture.js";
import { scaled } from "./scale.js";
import { inverse, middle, turn, warp } from "./warp.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./boxes.js").Row} Row */
/** @typedef {(picture: Picture) => Promise<Row[]>} Detect */

const [SHORTEST, LONGEST] = [160, 720]; // of the copy for the first look,
const [PART, FULL] = [0.32, 960]; // or such a part of a large photograph's, up to that
const SMALL = 44; // a face smaller than this in it hints at others, which are looked for in
const [CLOSER, MOST_PIXELS, MOST_SIDE] = [1.5, 4e6, 8000]; // a copy so much larger, no more than
const SURE = 0.75; // of the detector: below it pictures without faces get boxes
const [AGAIN, MOST_AGAIN] = [320, 16]; // what it is less sure of fills half of such a square
const SAME = 0.4; // overlap of boxes of one face
const [LOOKS, SURE_TURNED] = [[-35, 35], 0.8]; // degrees by which copies are turned

/**
 * The faces of a picture, the largest first.
 * @param {Detect} detect
 * @param {Picture} picture
 * @returns {Promise<Row[]>}
 */
export async function search(detect, picture) {
  const scale = firstScale(picture);
  let rows = await lookAgain(detect, picture, await look(detect, picture, scale));
  if (rows.some((row) => isSure(row) && sideOfBox(row) * scale < SMALL)) {
    rows = [...rows, ...(await lookCloser(detect, picture, scale))];
  }
  if (!rows.some(isSure)) rows = [...rows, ...(await lookTurned(detect, picture, scale))];
  return largestFirst(apart(rows.filter(isSure), SAME));
}

/**
 * The faces of a frame of a video: one look at a copy whose longer side is at most `most`.
 * @param {Detect} detect
 * @param {Picture} picture
 * @param {number} most
 * @returns {Promise<Row[]>}
 */
export async function glance(detect, picture, most) {
  const rows = await look(detect, picture, Math.min(1, most / longer(picture)));
  return apart(rows.filter(isSure), SAME);
}

/**
 * One face, looked for by itself near where it was.
 * @param {Detect} detect
 * @param {Picture} picture
 * @param {ArrayLike<number>} box where it was
 * @param {number} side of the square that the detector is given: a multiple of 32
 * @param {number} part of it that the face fills
 * @returns {Promise<Row | null>}
 */
export async function near(detect, picture, box, side, part) {
  const reach = Math.max(2, Math.round(sideOfBox(box) / part));
  const left = Math.round(box[0] + box[2] / 2 - reach / 2);
  const top = Math.round(box[1] + box[3] / 2 - reach / 2);
  const copy = scaled(cut(picture, left, top, reach, reach), side / reach);
  const rows = moved(await detect(copy), reach / copy.width, reach / copy.height, left, top);
  const same = rows.filter((row) => isSure(row) && overlap(row, box) > 0.3);
  return same.sort((one, other) => overlap(other, box) - overlap(one, box))[0] ?? null;
}

function isSure(row) {
  return row[4] >= SURE;
}

function longer({ width, height }) {
  return Math.max(width, height);
}

function largestFirst(rows) {
  return rows.sort((a, b) => b[2] * b[3] - a[2] * a[3] || a[0] - b[0]);
}

function firstScale(picture) {
  const most = Math.min(Math.max(LONGEST, PART * longer(picture)), FULL);
  return Math.min(Math.max(1, SHORTEST / longer(picture)), most / longer(picture));
}

async function look(detect, picture, scale) {
  const copy = scaled(picture, scale);
  return moved(await detect(copy), picture.width / copy.width, picture.height / copy.height);
}

/** The faces too small for the first look, which was at the scale `seen`. */
async function lookCloser(detect, picture, seen) {
  const { width, height } = picture;
  const scale = Math.min(
    CLOSER,
    Math.sqrt(MOST_PIXELS / (height * width)),
    MOST_SIDE / longer(picture),
  );
  if (scale <= 1.2 * seen) return []; // nothing to be gained
  const rows = await look(detect, picture, scale);
  const small = rows.filter((row) => sideOfBox(row) * seen < 1.5 * SMALL);
  return lookAgain(detect, picture, small);
}

/** The same rows, but what the detector says of each unsure face by itself in their place. */
async function lookAgain(detect, picture, found) {
  const rows = apart(found, SAME);
  const sure = rows.filter(isSure);
  for (const row of rows.slice(sure.length, sure.length + MOST_AGAIN)) {
    const { window, where } = around(picture, row);
    const seen = moved(await detect(window), ...where);
    const same = seen.find((one) => overlap(row, one) > 0.3);
    if (same) sure.push(same);
  }
  return sure;
}

/** A face with half its side of surroundings, and how to move rows back. */
function around(picture, row) {
  const side = Math.max(1, sideOfBox(row));
  const [x, y] = [row[0] + row[2] / 2, row[1] + row[3] / 2];
  const [left, top] = [Math.trunc(Math.max(x - side, 0)), Math.trunc(Math.max(y - side, 0))];
  const width = Math.min(Math.ceil(x + side), picture.width) - left;
  const height = Math.min(Math.ceil(y + side), picture.height) - top;
  const copy = scaled(cut(picture, left, top, width, height), AGAIN / (2 * side + 1));
  const window = blank(AGAIN, AGAIN);
  for (let line = 0; line < Math.min(copy.height, AGAIN); line += 1) {
    const from = line * copy.width * 4;
    const pixels = copy.data.subarray(from, from + Math.min(copy.width, AGAIN) * 4);
    window.data.set(pixels, line * AGAIN * 4);
  }
  return { window, where: [width / copy.width, height / copy.height, left, top] };
}

/** What the detector is sure of in turned copies, which shows the heads that lean far. */
async function lookTurned(detect, picture, scale) {
  const copy = scaled(picture, scale);
  const { width, height } = copy;
  let rows = [];
  for (const degrees of LOOKS) {
    const matrix = turn(degrees, middle(width, height), middle(width, height));
    const seen = await detect(warp(copy, matrix, width, height));
    rows = [...rows, ...back(seen.filter((row) => row[4] >= SURE_TURNED), inverse(matrix))];
  }
  const kept = apart(surestFirst(rows), SAME);
  return moved(kept, picture.width / width, picture.height / height);
}

/** Rows of a turned copy where they are in the upright one; boxes keep their size. */
function back(rows, [a, b, c, d, e, f]) {
  const place = (x, y) => [
    a * (x - 0.5) + b * (y - 0.5) + c + 0.5,
    d * (x - 0.5) + e * (y - 0.5) + f + 0.5,
  ];
  return rows.map(([x, y, width, height, sure, ...points]) => {
    const [across, down] = place(x + width / 2, y + height / 2);
    const marks = [0, 2, 4, 6, 8].flatMap((k) => place(points[k], points[k + 1]));
    return [across - width / 2, down - height / 2, width, height, sure, ...marks];
  });
}
