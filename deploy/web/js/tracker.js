// Faces followed from frame to frame, as `ferlib.faces.tracking` follows them: the detector looks
// at the whole frame now and then. Between two looks Python follows the flow of points; here each
// face is looked for by itself near where it was, which takes the detector a few milliseconds.

import { overlap } from "./boxes.js";
import { alike, patch } from "./likeness.js";

const EVERY = 5; // frames from one look at the whole to the next
const FORGET = 1; // seconds that a face may be unseen and keep its number
const MISSES = 2; // looks in a row without the face before it counts as gone
const [SAME, SAME_GUESSED] = [0.3, 0.1]; // least overlap with a followed box, with a guessed one
const CROSSING = 0.05; // overlap of two boxes from which one may be taken for the other
const STEADY = 0.2; // seconds: the time constant of a box's speed
const MANY = 3; // faces: to look at the whole is quicker than to look for more of them

/** One face over time; `id` counts from 1 and is never used again. */
class Track {
  constructor(id, row, seconds) {
    Object.assign(this, { id, box: row.slice(0, 4), confidence: row[4], seen: seconds });
    Object.assign(this, { visible: true, misses: 0, speed: [0, 0], looked: null });
    Object.assign(this, { patch: null, look: null, mean: null, weight: 0, read: 0 });
  }

  /**
   * The mean of this face's readings, each counting exp(-age / constant).
   * @param {ArrayLike<number>} probabilities
   * @param {number} seconds now
   * @param {number} constant in seconds, 0 for no smoothing
   * @returns {number[]}
   */
  smooth(probabilities, seconds, constant) {
    const kept = constant > 0 ? Math.exp(-(seconds - this.read) / constant) : 0;
    const old = this.mean ? this.weight * kept : 0;
    const mean = this.mean ?? probabilities;
    this.mean = Array.from(probabilities, (now, k) => (old * mean[k] + now) / (old + 1));
    [this.weight, this.read] = [old + 1, seconds];
    return this.mean;
  }
}

/** Follows faces: `find(picture)` and `near(picture, box)` ask the detector. */
export class Tracker {
  /**
   * @param {(picture: object) => Promise<import("./boxes.js").Row[]>} find
   * @param {(picture: object, box: number[]) => Promise<import("./boxes.js").Row | null>} near
   * @param {number} [every] frames from one look at the whole to the next
   */
  constructor(find, near, every = EVERY) {
    Object.assign(this, { find, near, every });
    this.due = this.last = 0;
    this.looked = false;
    this.tracks = [];
  }

  /**
   * The next frame and its time -> the tracks seen in it, by id.
   * @param {import("./picture.js").Picture} picture
   * @param {number} seconds
   * @returns {Promise<Track[]>}
   */
  async update(picture, seconds) {
    const many = this.shown().length > MANY;
    this.looked = this.due <= 0 || many || !(await this.follow(picture, seconds));
    if (this.looked) {
      await this.look(picture, seconds);
      this.due = this.every;
    }
    this.due -= 1;
    this.tracks = this.tracks.filter((track) => alive(track, picture, seconds));
    for (const track of this.shown()) {
      track.seen = seconds;
      track.patch = this.touched(track) ? null : patch(picture, track.box);
    }
    return this.shown();
  }

  shown() {
    return this.tracks.filter((track) => track.visible).sort((one, other) => one.id - other.id);
  }

  touched(track) {
    return this.tracks.some((one) => one !== track && overlap(one.box, track.box) > CROSSING);
  }

  /** Whether every face was found again near where it was, alone. */
  async follow(picture, seconds) {
    let found = true;
    for (const track of this.shown()) {
      const row = this.touched(track) ? null : await this.near(picture, track.box);
      if (row && alike(track.patch, patch(picture, row))) {
        track.box = halfway(track.box, row);
        track.confidence = row[4];
      } else {
        found = false;
        if (!this.touched(track)) hide(track, seconds);
      }
    }
    return found;
  }

  /** Bring the tracks in line with the detector; faces that belong to none start new ones. */
  async look(picture, seconds) {
    const found = detections(picture, await this.find(picture));
    const shown = this.shown();
    const free = new Set(found);
    const confirmed = new Set();
    const followed = shown.map((track) => [track, track.box]);
    const guessed = this.tracks.map((track) => [track, guess(track, seconds)]);
    for (const [places, least] of [[followed, SAME], [guessed, SAME_GUESSED]]) {
      const open = places.filter(([track]) => !confirmed.has(track));
      for (const [track, one] of pairs(open, free, least)) {
        free.delete(one);
        confirmed.add(track);
        confirm(track, one, seconds);
      }
    }
    shown.filter((track) => !confirmed.has(track)).forEach((track) => miss(track, found, seconds));
    for (const one of free) {
      this.tracks.push(new Track((this.last += 1), one.row, seconds));
      confirm(this.tracks.at(-1), one, seconds);
    }
  }
}

/** Rows with what each face looks like; null where another head may cover it. */
function detections(picture, rows) {
  const wide = rows.map(([x, y, w, h]) => [x - 0.3 * w, y - 0.3 * h, 1.6 * w, 1.6 * h]);
  return rows.map((row, k) => {
    const alone = wide.every((other, j) => j === k || overlap(row, other) <= CROSSING);
    return { row, patch: alone ? patch(picture, row) : null };
  });
}

/** Tracks and detections that belong together, the best overlap first, each used once. */
function pairs(places, free, least) {
  const every = places.flatMap(([track, place]) =>
    [...free]
      .filter((one) => track.visible || alike(track.look, one.patch))
      .map((one) => ({ common: overlap(place, one.row), track, one })),
  );
  const kept = [];
  for (const each of every.sort((a, b) => b.common - a.common)) {
    const used = kept.some(([track, one]) => track === each.track || one === each.one);
    if (each.common >= least && !used) kept.push([each.track, each.one]);
  }
  return kept;
}

/** Halfway to the detector's box, as its boxes tremble; all the way after a gap. */
function confirm(track, { row, patch: seen }, seconds) {
  track.box = track.visible ? halfway(track.box, row) : row.slice(0, 4);
  if (track.looked && seconds > track.looked.seconds) {
    const passed = seconds - track.looked.seconds;
    const share = 1 - Math.exp(-passed / STEADY);
    track.speed = track.speed.map((speed, k) => {
      const to = track.box[k] + track.box[k + 2] / 2;
      const from = track.looked.box[k] + track.looked.box[k + 2] / 2;
      return speed + share * ((to - from) / passed - speed);
    });
  }
  track.looked = { box: track.box, seconds };
  if (seen) track.look = track.look ? track.look.map((one, k) => (one + seen[k]) / 2) : seen;
  Object.assign(track, { confidence: row[4], misses: 0, visible: true });
}

/** The detector did not confirm it: believed once more, unless it is on another's box. */
function miss(track, found, seconds) {
  track.misses += 1;
  const doubled = found.some((one) => overlap(track.box, one.row) > SAME);
  if (doubled || track.misses >= MISSES) hide(track, seconds);
}

/** Where it should be by now, from where it was last detected. */
function guess(track, seconds) {
  const { box, seconds: when } = track.looked ?? { box: track.box, seconds };
  const [across, down] = track.speed.map((speed) => speed * (seconds - when));
  return [box[0] + across, box[1] + down, box[2], box[3]];
}

function hide(track, seconds) {
  track.box = guess(track, seconds);
  track.visible = false;
}

function halfway(one, other) {
  return one.map((value, k) => (value + other[k]) / 2);
}

/** Seen now or lately, and its centre is in the picture. */
function alive({ box, seen, visible }, { width, height }, seconds) {
  const [x, y] = [box[0] + box[2] / 2, box[1] + box[3] / 2];
  const lately = visible || seconds - seen <= FORGET;
  return lately && x >= 0 && x < width && y >= 0 && y < height;
}
