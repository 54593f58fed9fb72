// The camera: its picture, and frames of it one after another.

import { Plain } from "./words.js";

const SIZE = { width: { ideal: 640 }, height: { ideal: 480 } };
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
    this.side = "user";
    this.several = false;
    this.ended = () => {};
  }

  get runs() {
    return this.stream !== null;
  }

  /**
   * @returns {Promise<void>} once there is a picture; Plain where there is none to be had
   */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Plain("The camera needs a page from https or localhost: choose a picture instead.");
    }
    const wanted = { video: { ...SIZE, facingMode: this.side }, audio: false };
    this.stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
      throw new Plain(REASONS[error.name] ?? "The camera could not be started: choose a picture.");
    });
    const [track] = this.stream.getVideoTracks();
    track.onended = () => this.ended();
    this.video.classList.toggle("mirrored", this.mirrored);
    this.video.srcObject = this.stream;
    await this.video.play();
    const devices = await navigator.mediaDevices.enumerateDevices();
    this.several = devices.filter(({ kind }) => kind === "videoinput").length > 1;
  }

  /** People expect a mirror of the camera that looks at them. */
  get mirrored() {
    const [track] = this.stream?.getVideoTracks() ?? [];
    return track?.getSettings().facingMode !== "environment";
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  /** The other one of a phone's two. */
  async turn() {
    this.side = this.side === "user" ? "environment" : "user";
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
