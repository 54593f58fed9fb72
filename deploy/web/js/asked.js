// The worker, asked and answered: one promise for each question.

import { Plain } from "./words.js";

const GONE = "The page could not be started: load it again, or use a newer browser.";

export class Asked {
  /** @param {string | URL} script of the worker */
  constructor(script) {
    this.worker = new Worker(script, { type: "module" });
    this.waiting = new Map();
    this.count = 0;
    this.gone = false;
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = () => this.lost();
  }

  /**
   * @param {string} kind
   * @param {object} [more]
   * @param {Transferable[]} [given] what goes over to the worker
   * @returns {Promise<object>} rejected with a Plain
   */
  ask(kind, more = {}, given = []) {
    const number = (this.count += 1);
    if (this.gone) return Promise.reject(new Plain(GONE));
    this.worker.postMessage({ kind, number, ...more }, given);
    return new Promise((resolve, reject) => this.waiting.set(number, { resolve, reject }));
  }

  answer({ number, kind, ...told }) {
    const one = this.waiting.get(number);
    this.waiting.delete(number);
    if (kind === "failed") one?.reject(new Plain(told.text));
    else one?.resolve(told);
  }

  /** A file of the page is missing, or the browser cannot read it. */
  lost() {
    this.gone = true;
    for (const { reject } of this.waiting.values()) reject(new Plain(GONE));
    this.waiting.clear();
  }
}
