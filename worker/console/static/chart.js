// p over time of one question: its line, enter and exit, mass, events, gaps in the record.

import { atShort, atTime, el, nearness, number, svg } from "./page.js";

const HEIGHT = 142;
const TOP = 18; // answers stand there
const BOTTOM = 20;
const LEFT = 30;
const RIGHT = 54;

export class Chart {
  constructor(id) {
    this.id = id;
    this.said = el("span", { class: "now" });
    this.words = el("h3", {});
    this.readout = el("p", { class: "readout", "aria-live": "off" });
    this.frame = el("div", { class: "frame" });
    this.node = el(
      "section",
      { class: "chart", "data-question": id },
      el("header", {}, this.words, this.said),
      this.frame,
      this.readout,
    );
    this.points = []; // [ms, p, least, greatest, mass, said, why]
    this.asked = {};
    this.events = [];
    this.gaps = [];
    this.range = [0, 1];
    this.frame.addEventListener("pointermove", (event) => this.point(event));
    this.frame.addEventListener("pointerleave", () => this.unpoint());
  }

  draw() {
    const { asked } = this;
    this.words.textContent = asked.question ?? this.id;
    const last = this.points.at(-1);
    this.said.textContent = last ? `${last[5] ?? "–"}${last[1] === null ? "" : ` · p ${number(last[1])}`}` : "";
    const width = Math.max(240, this.frame.clientWidth);
    this.width = width;
    const made = svg("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img",
      "aria-label": `p over time: ${asked.question ?? this.id}`,
    });
    made.append(...this.grid(), ...this.bars(), ...this.lines(), ...this.thresholds());
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    made.append(this.cursor);
    this.frame.replaceChildren(made);
    if (!this.isPointed) this.readout.textContent = this.legend();
  }

  legend() {
    const { kind, target, enter } = this.asked;
    if (kind === "text" || kind === "when") return "answered in words";
    const what = kind === "count" ? `${target} or more` : target;
    const of = enter !== null && enter !== undefined && what && what !== "yes" ? ` of “${what}”` : "";
    return `p${of}, thin: mass, shaded: an event`;
  }

  x(ms) {
    const [from, to] = this.range;
    return LEFT + ((ms - from) / (to - from)) * (this.width - LEFT - RIGHT);
  }

  y(p) {
    return TOP + (1 - p) * (HEIGHT - TOP - BOTTOM);
  }

  grid() {
    const [from, to] = this.range;
    const made = [0, 0.5, 1].flatMap((p) => [
      svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: this.y(p), y2: this.y(p) }),
      svg("text", { class: "tick", x: LEFT - 6, y: this.y(p) + 3.5, "text-anchor": "end" }, `${p}`),
    ]);
    const every = [60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]
      .map((s) => 1000 * s)
      .find((ms) => ((to - from) / ms) * 76 <= this.width - LEFT - RIGHT) ?? 86400000;
    const zone = new Date(from).getTimezoneOffset() * 60000;
    for (let at = Math.ceil((from - zone) / every) * every + zone; at < to; at += every) {
      made.push(svg("text", { class: "tick", x: this.x(at), y: HEIGHT - 5, "text-anchor": "middle" }, atShort(at)));
    }
    return made;
  }

  bars() {
    const [from, to] = this.range;
    const bar = (kind, start, end, words) => {
      const x = this.x(Math.max(from, start));
      return svg(
        "rect",
        { class: kind, x, width: Math.max(2, this.x(Math.min(to, end)) - x), y: TOP, height: HEIGHT - TOP - BOTTOM },
        svg("title", {}, words),
      );
    };
    const events = this.events.map((one) =>
      bar("bar", one.started_ms, one.ended_ms ?? to, `event ${atTime(one.started_ms)} – ${one.ended_ms ? atTime(one.ended_ms) : "now"}`),
    );
    const gaps = this.gaps.map(([, , start, end, missed]) =>
      bar("gap", start, end, `not recorded: ${missed ?? "unknown number of"} messages`),
    );
    return [...gaps, ...events];
  }

  thresholds() {
    const { enter, exit } = this.asked;
    const made = [];
    for (const [name, p] of [["enter", enter], ["exit", exit]]) {
      if (p === null || p === undefined) continue;
      const y = this.y(p);
      made.push(
        svg("line", { class: `threshold ${name}`, x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
        svg("text", { class: `tick ${name}`, x: this.width - RIGHT + 5, y: y + 3.5 }, `${name} ${p}`),
      );
    }
    return made;
  }

  lines() {
    const near = (point, n) => (point[n] === null ? null : (nearness(this.asked, point[5], point[n]) ?? point[n]));
    const hole = 4 * Math.max(1000 * (this.asked.every_s ?? 5), (this.range[1] - this.range[0]) / 720);
    const p = new Path(hole);
    const mass = new Path(hole);
    const made = [];
    let said = null;
    let lastTick = -99;
    for (const point of this.points) {
      const x = this.x(point[0]);
      if (x < LEFT || x > this.width - RIGHT) continue;
      const value = near(point, 1);
      p.to(point[0], x, value === null ? null : this.y(value));
      mass.to(point[0], x, point[4] === null ? null : this.y(point[4]));
      if (point[2] !== point[3] && value !== null) {
        made.push(svg("line", { class: "range", x1: x, x2: x, y1: this.y(near(point, 2)), y2: this.y(near(point, 3)) }));
      }
      const isTick = this.asked.kind !== "yes_no" && point[5] !== said;
      if (isTick && x - lastTick > 26) {
        made.push(svg("text", { class: "answer", x, y: TOP - 5 }, `${point[5] ?? ""}`.slice(0, 24)));
        lastTick = x;
      }
      if (point[5] === "unknown") made.push(svg("line", { class: "unknown", x1: x, x2: x, y1: this.y(0), y2: this.y(0) - 6 }));
      said = point[5];
    }
    made.push(svg("path", { class: "mass", d: mass.d }), svg("path", { class: "p", d: p.d }));
    return made;
  }

  point(event) {
    const box = this.frame.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width;
    const nearest = this.points.reduce(
      (best, one) => (Math.abs(this.x(one[0]) - x) < Math.abs(this.x(best?.[0] ?? -1e15) - x) ? one : best),
      null,
    );
    if (!nearest) return;
    this.isPointed = true;
    const at = this.x(nearest[0]);
    this.cursor.setAttribute("visibility", "visible");
    this.cursor.setAttribute("x1", at);
    this.cursor.setAttribute("x2", at);
    const why = nearest[6] ? ` (${nearest[6]})` : "";
    this.readout.textContent = `${atTime(nearest[0])}  ${nearest[5] ?? "–"}${why}  p ${number(nearest[1])}  mass ${number(nearest[4])}`;
  }

  unpoint() {
    this.isPointed = false;
    this.draw();
  }
}

class Path {
  constructor(hole) {
    this.hole = hole;
    this.d = "";
    this.at = -1e15;
  }

  to(ms, x, y) {
    if (y === null) {
      this.at = -1e15;
      return;
    }
    // a lone point has a length, or nobody would see it
    this.d += ms - this.at > this.hole ? `M${x.toFixed(1)} ${y.toFixed(1)}h0.5` : `L${x.toFixed(1)} ${y.toFixed(1)}`;
    this.at = ms;
  }
}
