// Pictures that people choose, drop or paste.

import { Plain } from "./words.js";

const MOST = 40e6; // pixels: more are refused before they are decoded, as by `ferlib`

/**
 * A picture file, decoded, upright by its EXIF tag.
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>} Plain where it is no picture, or too large
 */
export async function opened(file) {
  const { width, height } = await measured(file);
  if (width * height > MOST) {
    const millions = Math.round((width * height) / 1e6);
    throw new Plain(`This picture has ${millions} megapixels: at most 40 are read; shrink it.`);
  }
  return createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw notOne();
  });
}

/** Its size: browsers read the head of a file for that, and decode it later. */
async function measured(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    return { width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    throw notOne();
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

function notOne() {
  return new Plain("This file is no picture that the browser can read: choose a JPEG or a PNG.");
}

/**
 * Takes what is dropped on the page or pasted into it.
 * @param {HTMLElement} stage shows that something can be dropped
 * @param {(file: File, count: number) => void} take the first of so many
 */
export function takeDrops(stage, take) {
  const given = (some) => some?.files.length && take(some.files[0], some.files.length);
  const over = (on) => stage.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => over(event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    given(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    given(event.clipboardData);
  });
}
