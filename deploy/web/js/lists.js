// Lists that are filled once: the colours of the classes, and pictures to try.

const SAMPLES = [
  { file: "astronaut.jpg", name: "Astronaut" },
  { file: "four.jpg", name: "Drawn faces" },
  { file: "leaning.jpg", name: "Leaning head" },
];

/**
 * @param {HTMLElement} place
 * @param {string[]} classes
 * @param {Record<string, string>} colours
 */
export function fillLegend(place, classes, colours) {
  for (const name of classes) {
    const item = document.createElement("li");
    const spot = document.createElement("span");
    spot.style.background = colours[name];
    item.append(spot, name);
    place.append(item);
  }
}

/**
 * @param {HTMLElement} place
 * @param {(file: string) => void} take
 */
export function fillSamples(place, take) {
  for (const { file, name } of SAMPLES) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const image = Object.assign(new Image(116, 84), { src: `samples/${file}`, alt: "" });
    button.type = "button";
    button.append(image, name);
    button.addEventListener("click", () => take(file));
    item.append(button);
    place.append(item);
  }
}
