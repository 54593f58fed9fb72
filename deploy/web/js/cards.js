// A card for each face: its number, its emotion, and a bar for each class.

import { percent } from "./words.js";

const MOST = 12; // cards: of a crowd the first faces, in a picture the largest

export class Cards {
  /**
   * @param {HTMLElement} place
   * @param {string[]} classes
   * @param {Record<string, string>} colours
   */
  constructor(place, classes, colours) {
    this.place = place;
    this.classes = classes;
    this.colours = colours;
    this.shown = new Map();
  }

  /** @param {import("./face.js").Face[]} faces */
  show(faces) {
    const some = faces.slice(0, MOST);
    const ids = new Set(some.map(({ id }) => id));
    for (const [id, card] of this.shown) {
      if (ids.has(id)) continue;
      card.root.remove();
      this.shown.delete(id);
    }
    for (const face of some) this.card(face.id).update(face);
  }

  card(id) {
    if (!this.shown.has(id)) {
      const made = new Card(id, this.classes, this.colours);
      this.shown.set(id, made);
      this.place.append(made.root);
    }
    return this.shown.get(id);
  }
}

class Card {
  constructor(id, classes, colours) {
    this.root = element("article", "face");
    this.title = element("h3");
    const head = element("div", "face-head");
    head.append(this.title, element("span", "face-number", `Face ${id}`));
    const list = element("ul", "bars");
    this.bars = classes.map((name) => new Bar(name, colours[name]));
    list.append(...this.bars.map(({ root }) => root));
    this.root.append(head, list);
  }

  update(face) {
    write(this.title, face.emotion);
    this.root.dataset.box = face.box.join(",");
    this.root.dataset.roll = face.roll;
    for (const bar of this.bars) bar.update(face.scores[bar.name], bar.name === face.emotion);
  }
}

class Bar {
  constructor(name, colour) {
    this.name = name;
    this.root = element("li");
    this.root.dataset.name = name;
    this.fill = element("div", "fill");
    this.fill.style.background = colour;
    const track = element("div", "track");
    track.append(this.fill);
    this.share = element("span", "share");
    this.root.append(element("span", "", name), track, this.share);
  }

  update(probability, most) {
    this.root.classList.toggle("most", most);
    this.root.dataset.probability = probability;
    this.fill.style.transform = `scaleX(${probability})`;
    write(this.share, percent(probability));
  }
}

function element(kind, name = "", text = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

/** Only what is new, which spares the browser and who listens to it work. */
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
