// What was seen as a table, in the columns of `ferlib predict --csv`.

const COLUMNS = "source,frame,seconds,id,x,y,width,height,confidence,emotion".split(",");

/**
 * @typedef {object} Seen
 * @property {string} source a file's name, or "camera"
 * @property {number | null} frame
 * @property {number | null} seconds
 * @property {import("./face.js").Face} face
 */

/**
 * @param {Iterable<Seen>} rows
 * @param {string[]} classes
 * @returns {string}
 */
export function table(rows, classes) {
  const lines = Array.from(rows, ({ source, frame, seconds, face }) => {
    const place = [source, frame ?? "", seconds ?? "", frame === null ? "" : face.id];
    const scores = classes.map((name) => face.scores[name]);
    return [...place, ...face.box, face.confidence, face.emotion, ...scores].map(field).join(",");
  });
  return [[...COLUMNS, ...classes].map(field).join(","), ...lines, ""].join("\n");
}

/** In quotes where it must be. */
function field(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
