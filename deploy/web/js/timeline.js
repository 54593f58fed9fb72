// The last minute: for each face a band in which the probabilities lie on top of each other.

import { fitted } from "./marks.js";
import { percent } from "./words.js";

const SPAN = 60; // seconds
const GAP = 1; // seconds without a face that leave a hole
const STEP = 0.1; // seconds from one moment that is drawn to the next
const PAUSE = 0.2; // seconds from one drawing to the next
const [BAND, LANES] = [84, 3]; // pixels; faces at most

export class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {string[]} classes
   * @param {Record<string, string>} colours
   */
  constructor(canvas, classes, colours) {
    this.canvas = canvas;
    this.classes = classes;
    this.colours = colours;
    this.moments = new Map();
    this.now = this.drawn = 0;
  }

  clear() {
    this.moments.clear();
    this.now = this.drawn = 0;
    this.draw();
  }

  /**
   * What a frame showed; drawn now and then.
   * @param {import("./face.js").Face[]} faces
   * @param {number} seconds
   */
  add(faces, seconds) {
    this.now = seconds;
    for (const { id, scores, emotion } of faces) {
      if (!this.moments.has(id)) this.moments.set(id, []);
      const several = this.moments.get(id);
      const last = several.at(-1)?.seconds ?? -Infinity;
      if (seconds - last >= STEP) several.push({ seconds, scores, emotion });
    }
    for (const [id, several] of this.moments) {
      while (several.length && several[0].seconds < seconds - SPAN) several.shift();
      if (!several.length) this.moments.delete(id);
    }
    if (seconds - this.drawn >= PAUSE) this.draw();
  }

  draw() {
    this.drawn = this.now;
    const lanes = longest([...this.moments]);
    this.canvas.style.height = `${Math.max(1, lanes.length) * BAND}px`;
    const context = fitted(this.canvas);
    const width = this.canvas.clientWidth;
    const style = getComputedStyle(this.canvas);
    lanes.forEach(([id, several], row) => {
      context.fillStyle = style.getPropertyValue("--sunk");
      context.fillRect(0, row * BAND + 18, width, BAND - 26);
      for (const run of runs(several)) this.stack(context, run, row * BAND + 18, BAND - 26, width);
      context.fillStyle = style.color;
      context.font = "13px system-ui, sans-serif";
      context.fillText(`Face ${id}`, 0, row * BAND + 12);
    });
    this.canvas.setAttribute("aria-label", this.described());
  }

  /** One area for each class, upon those before it. */
  stack(context, run, top, height, width) {
    const x = ({ seconds }) => width * (1 - (this.now - seconds) / SPAN);
    const levels = run.map(() => 0);
    for (const name of this.classes) {
      const low = [...levels];
      run.forEach(({ scores }, k) => (levels[k] += scores[name]));
      context.beginPath();
      run.forEach((one, k) => context.lineTo(x(one), top + height * (1 - levels[k])));
      for (let k = run.length - 1; k >= 0; k -= 1) {
        context.lineTo(x(run[k]), top + height * (1 - low[k]));
      }
      context.fillStyle = this.colours[name];
      context.fill();
    }
  }

  /** For who does not see it: what each face showed, and for how much of the time. */
  described() {
    const each = [...this.moments].map(([id, several]) => {
      const count = (name) => several.filter(({ emotion }) => emotion === name).length;
      const most = this.classes.reduce((best, name) => (count(name) > count(best) ? name : best));
      return `face ${id}: ${most} in ${percent(count(most) / several.length)} of the time`;
    });
    return each.length ? `Over the last minute: ${each.join("; ")}` : "No face was read yet";
  }
}

/** The faces that were there for most of the minute, in the order of their numbers. */
function longest(faces) {
  const sorted = faces.sort(([, one], [, other]) => other.length - one.length);
  return sorted.slice(0, LANES).sort(([one], [other]) => one - other);
}

/** Moments that follow each other without a gap. */
function runs(several) {
  const found = [];
  for (const one of several) {
    const last = found.at(-1);
    if (last && one.seconds - last.at(-1).seconds <= GAP) last.push(one);
    else found.push([one]);
  }
  return found;
}
