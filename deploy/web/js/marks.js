// Boxes and names over the picture.

const NARROW = 90; // pixels: below it a face among others has its number alone

/**
 * @param {HTMLCanvasElement} canvas over the picture, which fits into it as a whole
 * @param {{width: number, height: number}} size of the picture
 * @param {import("./face.js").Face[]} faces
 * @param {Record<string, string>} colours
 * @param {{mirrored: boolean, numbers: boolean}} how
 */
export function mark(canvas, size, faces, colours, { mirrored, numbers }) {
  const context = fitted(canvas);
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = Math.min(width / size.width, height / size.height);
  const [left, top] = [(width - size.width * scale) / 2, (height - size.height * scale) / 2];
  for (const face of faces) {
    const [x, y, w, h] = face.box.map((value) => value * scale);
    const across = mirrored ? size.width * scale - x - w : x;
    const name = w < NARROW && numbers ? "" : face.emotion;
    const text = numbers ? `${face.id}  ${name}`.trim() : name;
    box(context, left + across, top + y, w, h, colours[face.emotion]);
    caption(context, left + across, top + y, text, colours[face.emotion]);
  }
}

/**
 * A canvas's context, as sharp as the screen, empty, in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 */
export function fitted(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((s) => Math.round(s * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  return context;
}

function box(context, x, y, w, h, colour) {
  context.beginPath();
  context.roundRect(x, y, w, h, Math.min(10, w / 6));
  context.lineWidth = 5;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.stroke();
  context.lineWidth = 2.5;
  context.strokeStyle = colour;
  context.stroke();
}

/** Above the box, or inside where there is no room; a dot in its colour, the name on dark ground. */
function caption(context, x, y, name, colour) {
  context.font = "600 14px system-ui, sans-serif";
  const width = context.measureText(name).width + 32;
  const left = Math.max(4, Math.min(x, context.canvas.clientWidth - width - 4));
  const top = y > 34 ? y - 32 : y + 6;
  context.beginPath();
  context.roundRect(left, top, width, 26, 13);
  context.fillStyle = "rgb(14 16 20 / 82%)";
  context.fill();
  context.beginPath();
  context.arc(left + 13, top + 13, 5, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(name, left + 23, top + 13.5);
}
