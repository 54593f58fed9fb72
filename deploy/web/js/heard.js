// What a screen reader says: an emotion only once it has stayed, and seldom.

const STAYS = 1.5; // seconds that an emotion must stay to be told
const REST = 4; // seconds from one sentence to the next

export class Heard {
  /** @param {HTMLElement} place a polite live region */
  constructor(place) {
    this.place = place;
    this.sentence = "";
    this.since = 0;
    this.told = -Infinity;
  }

  /**
   * What a camera sees.
   * @param {import("./face.js").Face[]} faces
   * @param {number} seconds
   */
  show(faces, seconds) {
    const sentence = said(faces);
    if (sentence !== this.sentence) Object.assign(this, { sentence, since: seconds });
    const due = seconds - this.since >= STAYS && seconds - this.told >= REST;
    if (due && this.place.textContent !== sentence) {
      this.place.textContent = sentence;
      this.told = seconds;
    }
  }

  /**
   * What a picture shows; two in turn that show the same are both told.
   * @param {string} name of its file
   * @param {import("./face.js").Face[]} faces
   */
  tell(name, faces) {
    this.place.textContent = `${name}: ${said(faces)}`;
  }

  clear() {
    this.place.textContent = "";
    Object.assign(this, { sentence: "", since: 0, told: -Infinity });
  }
}

function said(faces) {
  if (!faces.length) return "No face is seen.";
  const some = faces.slice(0, 4).map(({ id, emotion }) => `Face ${id}: ${emotion}`);
  const more = faces.length > some.length ? `, and ${faces.length - some.length} more` : "";
  return `${some.join(", ")}${more}.`;
}
