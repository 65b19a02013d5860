// One camera: its picture and strip, what was asked of it over time, captions, and a box to ask.

import {
  atTime, dimToggle, el, failed, get, listen, looking, main, now, number, ofText, percent, post,
  setNow, span, tellNew, time,
} from "./page.js";
import { Chart } from "./chart.js";
import { Controls } from "./control.js";
import { Picture } from "./picture.js";

const camera = document.body.dataset.camera;
const RANGES = [["15 min", 15], ["1 h", 60], ["6 h", 360], ["24 h", 1440], ["7 d", 10080]];
let minutes = 15;
let tile = null;
let course = null;
let isStale = true;

const picture = new Picture(camera);
const controls = new Controls(camera);
const facts = el("dl", { class: "facts" });
const strip = el("div", { class: "strip", "aria-label": "pictures since you look" });
const captions = el("ol", { class: "captions" });
const charts = new Map();
const chartBox = el("div", { class: "charts" });
const events = el("ul", { class: "events" });
const noCourse = el("p", { class: "quiet" }, "Nothing was asked in this time.");
const sent = el("p", { class: "quiet sentline" });

const ranges = el(
  "div",
  { class: "ranges", role: "group", "aria-label": "stretch of time" },
  RANGES.map(([words, value]) =>
    el("button", { type: "button", "aria-pressed": String(value === minutes), "data-minutes": value, onclick: () => choose(value) }, words),
  ),
);

function choose(value) {
  minutes = value;
  for (const one of ranges.children) one.setAttribute("aria-pressed", String(Number(one.dataset.minutes) === value));
  fetchCourse().catch(failed);
}

async function fetchCourse() {
  const to = Math.round(now());
  course = await get(`api/cameras/${camera}/course`, { from: to - minutes * 60000, to: to + 1000 });
  // of one question with two wordings the later one's points follow
  const byId = new Map();
  for (const one of course.questions) {
    const known = byId.get(one.question_id);
    const points = [...(known?.points ?? []), ...one.points].sort((a, b) => a[0] - b[0]);
    byId.set(one.question_id, { ...one, points });
  }
  for (const [id, chart] of charts) {
    if (!byId.has(id) && !tile?.questions[id]) {
      chart.node.remove();
      charts.delete(id);
    }
  }
  for (const [id, one] of byId) chartOf(id).points = one.points;
  for (const id of Object.keys(tile?.questions ?? {})) if (!byId.has(id)) chartOf(id).points = [];
  for (const [id, chart] of charts) {
    const told = byId.get(id);
    chart.asked = { question: told?.question, kind: told?.kind, ...(tile?.questions[id] ?? {}) };
    chart.events = course.events.filter((one) => one.question_id === id);
    chart.gaps = course.gaps.filter(([, kind]) => kind === "answer");
  }
  captions.replaceChildren(...course.captions.map(([at, text]) => captionLine(at, text)));
  tellEvents();
  isStale = true;
  redraw();
}

function chartOf(id) {
  let chart = charts.get(id);
  if (!chart) {
    chart = new Chart(id);
    charts.set(id, chart);
    chartBox.append(chart.node);
  }
  return chart;
}

function captionLine(at, text) {
  return el("li", {}, time(at), el("span", {}, text));
}

function tellEvents() {
  events.replaceChildren(
    ...course.events.slice(0, 12).map((one) =>
      el(
        "li",
        { class: one.ended_ms ? "" : "open" },
        time(one.started_ms),
        el("a", { href: `inbox?event=${encodeURIComponent(one.event_id)}` }, `${one.question} → ${one.said}`),
        el("span", { class: "quiet" }, one.ended_ms ? span(one.ended_ms - one.started_ms) : "goes on", one.is_test ? " · test" : ""),
      ),
    ),
  );
}

function redraw() {
  if (!isStale) return;
  isStale = false;
  const to = now();
  const step = (minutes * 60000) / 720;
  noCourse.hidden = charts.size > 0;
  for (const chart of charts.values()) {
    chart.range = [to - minutes * 60000, to + step];
    chart.draw();
  }
}

function takeTile(told) {
  const one = told[camera];
  if (one === undefined) return;
  if (one === null) {
    facts.replaceChildren(el("dt", {}, "state"), el("dd", {}, "this camera is not registered any more"));
    return;
  }
  tile = one;
  for (const [id, asked] of Object.entries(one.questions)) {
    const chart = chartOf(id);
    chart.asked = { ...chart.asked, ...asked };
  }
  controls.show(one);
  isStale = true;
  tellFacts();
}

function tellFacts() {
  if (!tile) return;
  const shown = [];
  const fact = (name, ...words) => words.some(Boolean) && shown.push(el("dt", {}, name), el("dd", {}, ...words));
  const why = tile.reason ? `: ${tile.reason.replaceAll("_", " ")}` : "";
  fact("state", el("b", { class: tile.state === "online" ? "" : "fault" }, `${tile.state ?? "unknown"}${why}`), tile.since ? ` since ${atTime(ofText(tile.since))}` : "");
  fact("", tile.detail);
  fact("next try", tile.next_try_at && atTime(ofText(tile.next_try_at)));
  fact("picture", picture.age ? `${picture.age} ago` : "");
  fact("worker", tile.owner);
  fact("model", tile.model && `${tile.model}${tile.demo_model ? " (a demonstration: it knows only its rendered world)" : ""}`);
  if (tile.window?.start) {
    fact("window", `${span(ofText(tile.window.end) - ofText(tile.window.start))}, ${tile.window.frames} pictures`);
  }
  if (tile.tokens) fact("sent", `${tile.tokens.kept} of ${tile.tokens.total} tokens (${percent(tile.kept_ratio)})`);
  if (tile.grid) fact("grid", `${tile.grid.cols} × ${tile.grid.rows} tokens`);
  facts.replaceChildren(...shown);
}

function takeShot(shots) {
  const shot = shots[camera];
  if (!shot) return;
  picture.show(shot);
  const count = shot.sent ? [...shot.sent].filter((one) => one === "1").length : null;
  sent.textContent = count === null ? "" : `${count} of ${shot.sent.length} tokens of this picture were sent to the model`;
  const there = new Set([...strip.children].map((one) => one.dataset.at));
  if (shot.strip.some((at) => !there.has(at))) {
    strip.replaceChildren(
      ...shot.strip.map((at) =>
        el(
          "figure",
          { "data-at": at },
          el("img", { src: `api/cameras/${camera}/picture?${new URLSearchParams({ at })}`, alt: `at ${atTime(ofText(at))}`, loading: "lazy" }),
          el("figcaption", {}, atTime(ofText(at))),
        ),
      ),
    );
    strip.scrollLeft = strip.scrollWidth;
  }
  tellFacts();
}

function takeTold(told) {
  let isEvent = false;
  for (const one of told) {
    if (one.kind === "caption") {
      captions.prepend(captionLine(one.at_ms, one.said));
      while (captions.children.length > 40) captions.lastChild.remove();
    }
    if (one.kind === "answer" && one.asked_by !== "ask") {
      const { points } = chartOf(one.question_id);
      if (!points.length || points.at(-1)[0] < one.at_ms) {
        points.push([one.at_ms, one.p, one.p, one.p, one.mass, one.said, one.why]);
      }
      isStale = true;
    }
    isEvent ||= one.kind === "event";
  }
  if (isEvent) fetchCourse().catch(failed);
}

// -- ask -----------------------------------------------------------------------------------------

const question = el("input", { id: "question", name: "question", required: true, maxlength: 500, placeholder: "Is the gate open?", autocomplete: "off" });
const kind = el(
  "select",
  { id: "kind", "aria-label": "kind of answer" },
  [["yes_no", "yes or no"], ["count", "a number"], ["text", "in words"], ["when", "when"], ["choice", "one of …"]].map(
    ([value, words]) => el("option", { value }, words),
  ),
);
const options = el("input", { id: "options", "aria-label": "options, separated by commas", placeholder: "red, green", hidden: true });
kind.addEventListener("change", () => (options.hidden = kind.value !== "choice"));
const replies = el("ol", { class: "replies", "aria-live": "polite" });
const askButton = el("button", { class: "main" }, "Ask now");
const askForm = el(
  "form",
  { class: "ask", onsubmit: ask },
  el("label", { for: "question" }, "Ask this camera, once"),
  el("div", { class: "row" }, question, kind, options, askButton),
  replies,
);

async function ask(event) {
  event.preventDefault();
  const words = question.value.trim();
  const line = el("li", {}, el("q", {}, words), el("span", { class: "quiet" }, "…"));
  replies.prepend(line);
  askButton.disabled = true;
  const begun = performance.now();
  try {
    const wanted = options.value.split(",").map((one) => one.trim()).filter(Boolean);
    const told = await post("api/ask", {
      camera, question: words, kind: kind.value, options: kind.value === "choice" ? wanted : [],
    });
    const took = `${((performance.now() - begun) / 1000).toFixed(1)} s`;
    const { data } = told;
    line.lastChild.replaceWith(
      data
        ? el("span", {}, el("b", {}, `${data.answer}`), el("span", { class: "quiet" }, ` p ${number(data.p)} · mass ${number(data.mass)}${data.reason ? ` · ${data.reason}` : ""} · ${took}`))
        : el("span", { class: "fault" }, `${(told.refused ?? "refused").replaceAll("_", " ")}${told.detail ? `: ${told.detail}` : ""}`),
    );
  } catch (error) {
    line.lastChild.replaceWith(el("span", { class: "fault" }, error.message));
  } finally {
    askButton.disabled = false;
  }
}

// -- together ------------------------------------------------------------------------------------

async function begin() {
  const told = await get("api/cameras");
  setNow(told.now_ms);
  tellNew(told.new);
  takeTile({ [camera]: told.cameras.find((one) => one.camera === camera) ?? null });
  await fetchCourse();
}

main.replaceChildren(
  el("div", { class: "head" }, el("h1", {}, camera), dimToggle()),
  el(
    "div",
    { class: "camera" },
    el("div", { class: "look" }, picture.node, sent, strip),
    el("div", { class: "side" }, facts, askForm, el("h2", {}, "Captions"), captions),
  ),
  el("div", { class: "head" }, el("h2", {}, "Answers over time"), ranges),
  noCourse,
  chartBox,
  controls.node,
  el("h2", {}, "Events"),
  events,
);
listen({ tiles: takeTile, shots: takeShot, told: takeTold }, begin, camera);
looking(() => [camera]);
new ResizeObserver(() => {
  isStale = true;
  redraw();
}).observe(chartBox);
setInterval(() => {
  tellFacts();
  isStale = true;
  redraw();
}, 2000);
get(`api/cameras/${camera}/shot`).then((shot) => takeShot({ [camera]: shot }), () => {});
