// A camera's last picture, and over it, where that is wanted, a veil on what was not sent.

import { el, now, ofText, span } from "./page.js";

export class Picture {
  constructor(camera) {
    this.camera = camera;
    this.image = el("img", { alt: `${camera}: last picture`, hidden: true });
    this.veil = el("canvas", { class: "veil", "aria-hidden": "true" });
    this.none = el("span", { class: "none" }, "no picture yet");
    this.node = el("div", { class: "picture" }, this.image, this.veil, this.none);
    this.capturedAt = null;
    this.image.addEventListener("load", () => {
      this.image.hidden = false;
      this.none.hidden = true;
    });
  }

  show(shot) {
    if (!shot.captured_at || shot.captured_at === this.capturedAt) return;
    this.capturedAt = shot.captured_at;
    const query = new URLSearchParams({ at: shot.captured_at });
    this.image.src = `api/cameras/${this.camera}/picture?${query}`;
    this.image.dataset.at = shot.captured_at;
    this.node.dataset.sent = shot.sent ? [...shot.sent].filter((one) => one === "1").length : "";
    drawVeil(this.veil, shot);
  }

  get age() {
    const at = ofText(this.capturedAt);
    return Number.isNaN(at) ? "" : span(now() - at);
  }
}

function drawVeil(veil, { rows, cols, sent }) {
  veil.width = cols || 1;
  veil.height = rows || 1;
  const pen = veil.getContext("2d");
  pen.clearRect(0, 0, veil.width, veil.height);
  pen.fillStyle = "rgba(8, 8, 8, 0.72)";
  for (let n = 0; n < sent.length; n += 1) {
    if (sent[n] !== "1") pen.fillRect(n % cols, Math.floor(n / cols), 1, 1);
  }
}
