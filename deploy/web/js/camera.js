// The camera: its picture, and frames of it one after another.

import { Plain } from "./words.js";

const SIZE = { width: { ideal: 640 }, height: { ideal: 480 } };
const FIRST = { facingMode: "user" };
const MOST = 960; // pixels of the longer side, of cameras that have no such size
const REASONS = {
  NotAllowedError: "The camera was not allowed: allow it in the browser, or choose a picture.",
  NotFoundError: "No camera was found: plug one in, or choose a picture.",
  NotReadableError: "The camera is in use by another program: close that, and start it again.",
};

export class Camera {
  /** @param {HTMLVideoElement} video in which its picture is shown */
  constructor(video) {
    this.video = video;
    this.stream = null;
    this.wish = FIRST;
    this.devices = []; // the names of all cameras
    this.tries = 0;
    this.ended = () => {};
  }

  get runs() {
    return this.stream !== null;
  }

  get several() {
    return this.devices.length > 1;
  }

  /**
   * Where it is stopped or started anew before it runs, its stream is ended.
   * @returns {Promise<void>} once there is a picture; Plain where there is none to be had
   */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Plain("The camera needs a page from https or localhost: choose a picture instead.");
    }
    const mine = (this.tries += 1);
    const wanted = { video: { ...SIZE, ...this.wish }, audio: false };
    const stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
      this.wish = FIRST;
      throw new Plain(REASONS[error.name] ?? "The camera could not be started: choose a picture.");
    });
    if (mine !== this.tries) return end(stream);
    this.stream = stream;
    const [track] = stream.getVideoTracks();
    track.onended = () => this.ended();
    this.video.classList.toggle("mirrored", this.mirrored);
    this.video.srcObject = this.stream;
    await this.video.play();
    const devices = await navigator.mediaDevices.enumerateDevices();
    const cameras = devices.filter(({ kind }) => kind === "videoinput");
    this.devices = cameras.map(({ deviceId }) => deviceId);
  }

  /** People expect a mirror of the camera that looks at them. */
  get mirrored() {
    return this.settings().facingMode !== "environment";
  }

  settings() {
    const [track] = this.stream?.getVideoTracks() ?? [];
    return track?.getSettings() ?? {};
  }

  stop() {
    this.tries += 1;
    if (this.stream) end(this.stream);
    this.stream = null;
    this.video.srcObject = null;
  }

  /** The other side of a phone; the next camera where they have no sides. */
  async turn() {
    const { facingMode, deviceId } = this.settings();
    const next = (this.devices.indexOf(deviceId) + 1) % this.devices.length;
    const other = facingMode === "user" ? "environment" : "user";
    this.wish = facingMode ? { facingMode: other } : { deviceId: { exact: this.devices[next] } };
    this.stop();
    await this.start();
  }

  /** @returns {Promise<ImageBitmap | null>} the picture of now */
  async frame() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!this.runs || !width) return null;
    const scale = Math.min(1, MOST / Math.max(width, height));
    if (scale === 1) return createImageBitmap(this.video);
    const [resizeWidth, resizeHeight] = [width, height].map((side) => Math.round(side * scale));
    return createImageBitmap(this.video, { resizeWidth, resizeHeight });
  }

  /** Calls once, when there is a new picture. */
  next(callback) {
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(callback);
    else requestAnimationFrame(callback);
  }
}

function end(stream) {
  for (const track of stream.getTracks()) track.stop();
}
