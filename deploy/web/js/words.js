// What goes wrong, in one plain sentence that a person can act on.

/** A mistake whose message is for the person at the page. */
export class Plain extends Error {}

/**
 * What to tell about an error, whatever it is.
 * @param {unknown} error
 * @param {string} otherwise where it is not one of ours
 * @returns {string}
 */
export function told(error, otherwise) {
  return error instanceof Plain ? error.message : otherwise;
}

/**
 * A share as whole percent, so that the eight read easily.
 * @param {number} share 0 to 1
 * @returns {string}
 */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}
