// Events by day, with pictures and marks; and a search over all that was said.

import {
  atDay, atTime, atDate, dayStart, el, failed, get, listen, main, now, number, post, setNow, span,
  tellNew, time,
} from "./page.js";

const asked = new URLSearchParams(location.search);
const filter = {
  state: asked.get("event") ? "all" : "new",
  camera: asked.get("camera") ?? "",
  question: asked.get("question") ?? "",
  day: "",
};
let shown = []; // events
const linked = asked.get("event");
let chosen = linked; // event_id
let detailed = ""; // what the detail shows, so that no clip that plays is begun anew
let isSearch = false;
const CLIP_WITHIN_MS = 15_000; // after what it shows

const list = el("ol", { class: "inbox", "aria-label": "events" });
const detail = el("section", { class: "detail", "aria-live": "polite", tabindex: "-1" });
const note = el("p", { class: "quiet note" });

const search = el("input", {
  type: "search", id: "search", "aria-label": "search", autocomplete: "off",
  placeholder: "Search, or ask: when did the gate open?",
});
const states = el(
  "div",
  { class: "ranges", role: "group", "aria-label": "which events" },
  [["new", "New"], ["reviewed", "Reviewed"], ["all", "All"]].map(([value, words]) =>
    el("button", { type: "button", "data-state": value, "aria-pressed": String(filter.state === value), onclick: () => set("state", value) }, words),
  ),
);
const cameras = el("select", { "aria-label": "camera", onchange: () => set("camera", cameras.value) });
const questions = el("select", { "aria-label": "question", onchange: () => set("question", questions.value) });
const days = el("input", { type: "date", "aria-label": "day", onchange: () => set("day", days.value) });
const reviewAll = el("button", { type: "button", onclick: () => review(shown.filter((one) => !one.is_reviewed)) }, "All seen");
const exportsBox = el("span", { class: "exports" });

function set(name, value) {
  filter[name] = value;
  for (const one of states.children) one.setAttribute("aria-pressed", String(one.dataset.state === filter.state));
  fetchEvents().catch(failed);
}

function stretch() {
  if (!filter.day) return {};
  const [year, month, date] = filter.day.split("-").map(Number);
  return {
    from: new Date(year, month - 1, date).getTime(),
    to: new Date(year, month - 1, date + 1).getTime(),
  };
}

async function fetchEvents() {
  const query = { camera: filter.camera, question: filter.question, state: filter.state, ...stretch() };
  const told = await get("api/events", query);
  isSearch = false;
  shown = told.events;
  if (linked && !shown.some((one) => one.event_id === linked)) {
    // somebody was led here to one that is older than the list goes
    await get(`api/events/${encodeURIComponent(linked)}`).then((one) => shown.push(one), () => {});
  }
  tellNew(told.new);
  choices(cameras, "all cameras", told.asked.cameras.map((one) => [one, one]), filter.camera);
  choices(questions, "all questions", Object.entries(told.asked.questions).map(([id, words]) => [id, `${id}: ${words}`]), filter.question);
  const wanted = new URLSearchParams(Object.entries({ ...query, state: "all" }).filter(([, value]) => value !== ""));
  exportsBox.replaceChildren(
    "Export (UTC): ",
    ...[["events.csv", "CSV"], ["events.json", "JSON"], ["labels.csv", "marks as labels"]].flatMap(([name, words]) => [
      el("a", { href: `api/export/${name}?${wanted}`, download: `vigil-${name}` }, words), " ",
    ]),
  );
  tellEvents();
}

function choices(box, all, given, value) {
  box.replaceChildren(...[["", all], ...given].map(([one, words]) => el("option", { value: one }, words)));
  box.value = value;
}

function tellEvents() {
  note.textContent = "";
  reviewAll.hidden = !shown.some((one) => !one.is_reviewed);
  const rows = [];
  let day = null;
  for (const one of shown) {
    const start = dayStart(one.started_ms);
    if (start !== day) {
      day = start;
      const words = start === dayStart(now()) ? "Today" : atDay(start);
      rows.push(el("li", { class: "day" }, words));
    }
    rows.push(row(one));
  }
  if (!shown.length) {
    rows.push(el("li", { class: "quiet empty" }, filter.state === "new" ? "Nothing new." : "No events here."));
  }
  list.replaceChildren(...rows);
  if (!chosen || !shown.some((one) => one.event_id === chosen)) {
    chosen = window.matchMedia("(min-width: 900px)").matches ? (shown[0]?.event_id ?? null) : null;
  }
  choose(chosen, { isQuiet: true });
}

function row(one) {
  const marks = [
    one.is_test ? el("span", { class: "tag" }, "test") : null,
    one.verdict ? el("span", { class: "tag" }, one.verdict) : null,
  ];
  const made = el(
    "li",
    {
      class: `item${one.is_reviewed ? "" : " new"}${one.ended_ms ? "" : " open"}`,
      "data-event": one.event_id,
    },
    el(
      "button",
      { type: "button", onclick: () => choose(one.event_id) },
      thumb(one),
      el(
        "span",
        { class: "what" },
        el("span", { class: "ask" }, one.question),
        el("span", { class: "quiet" }, one.camera, " · ", time(one.started_ms), " · ", one.ended_ms ? span(one.ended_ms - one.started_ms) : "goes on"),
      ),
      el("span", { class: "answer" }, one.said, ...marks),
    ),
  );
  return made;
}

function source(one, role) {
  return `api/events/${encodeURIComponent(one.event_id)}/${encodeURIComponent(role)}`;
}

function thumb(one) {
  const roles = one.pictures.map((picture) => picture.role);
  const role = ["at", "latest", "before"].find((name) => roles.includes(name));
  if (!role) return el("span", { class: "thumb none" });
  return el("img", { class: "thumb", src: source(one, role), alt: "", loading: "lazy", onerror: gone });
}

function gone(event) {
  event.target.replaceWith(el("span", { class: "none" }, "not kept any more"));
}

// A clip is cut seconds after its event has begun: until then it is asked for again.
function film(one) {
  const absent = (event) => {
    if (now() > Date.parse(one.clip.end) + CLIP_WITHIN_MS) return gone(event);
    const wait = el("span", { class: "none" }, "the clip is still being recorded");
    event.target.replaceWith(wait);
    setTimeout(() => wait.isConnected && wait.replaceWith(film(one)), 2000);
  };
  return el("video", { class: "clip", src: source(one, "clip"), controls: true, preload: "metadata", "aria-label": `clip of ${one.camera}`, onerror: absent });
}

function choose(id, { isQuiet = false } = {}) {
  chosen = id;
  const one = shown.find((other) => other.event_id === id);
  for (const item of list.children) {
    const isIt = item.dataset.event === id && Boolean(id);
    item.classList.toggle("chosen", isIt);
    item.querySelector("button")?.setAttribute("aria-current", String(isIt));
    if (isIt && !isQuiet) {
      item.querySelector("button").focus({ preventScroll: true });
      item.scrollIntoView({ block: "nearest" });
    }
  }
  if (!one) {
    detailed = "";
    detail.replaceChildren();
    detail.remove();
    columns.append(detail);
    return;
  }
  const telling = JSON.stringify(one);
  if (telling !== detailed) detail.replaceChildren(...told(one));
  detailed = telling;
  // on a narrow screen it stands right under what was chosen
  const item = [...list.children].find((other) => other.dataset.event === id);
  if (window.matchMedia("(max-width: 899px)").matches && item) item.append(detail);
  else if (detail.parentElement !== columns) columns.append(detail);
}

function told(one) {
  const roles = [["before", "before"], ["at", "at its start"], ["latest", "latest"]];
  const figures = roles.flatMap(([role, words]) => {
    const picture = one.pictures.find((other) => other.role === role);
    if (!picture) return [];
    return [
      el(
        "figure",
        { "data-role": role },
        el("img", { src: source(one, role), alt: `${one.camera}, ${words}`, onerror: gone }),
        el("figcaption", {}, `${words}, ${atTime(Date.parse(picture.captured_at))}`),
      ),
    ];
  });
  const strip = one.pictures.some((other) => other.role === "strip")
    ? el("figure", { class: "film", "data-role": "strip" }, el("img", { src: source(one, "strip"), alt: "six pictures around its start", onerror: gone }))
    : null;
  const clip = one.clip ? film(one) : null;
  const until = one.ended_ms ? atTime(one.ended_ms) : "it goes on";
  const facts = [
    ["answer", `${one.said}, p ${number(one.p)}`],
    ["from", atDate(one.started_ms)],
    ["until", until],
    ["lasted", one.ended_ms ? span(one.ended_ms - one.started_ms) : span(now() - one.started_ms)],
    ["ended by", one.reason?.replaceAll("_", " ")],
    ["marked", one.verdict ? `${one.verdict}${one.truth ? `: it was ${one.truth}` : ""}` : null],
  ].filter(([, words]) => words);
  return [
    el("h2", {}, one.question),
    el("p", {}, el("a", { href: `camera/${one.camera}` }, one.camera), one.is_test ? " · a test: nothing happened" : ""),
    figures.length ? el("div", { class: "figures" }, figures) : el("p", { class: "quiet" }, "No picture is named."),
    strip,
    clip,
    el("dl", { class: "facts" }, facts.flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)])),
    marks(one),
  ].filter(Boolean);
}

function marks(one) {
  const truth = el("input", { "aria-label": "what was true", placeholder: "what was it?", size: 10 });
  truth.value = one.truth ?? "";
  truth.hidden = one.question_kind === "yes_no";
  const button = (verdict, words) =>
    el("button", {
      type: "button", "aria-pressed": String(one.verdict === verdict), "data-verdict": verdict,
      onclick: () => mark(one, one.verdict === verdict ? null : verdict, truth.value),
    }, words);
  return el(
    "div",
    { class: "marks" },
    button("right", "Right"),
    button("wrong", "Wrong"),
    truth,
    el("button", { type: "button", class: "seen", onclick: () => review([one], !one.is_reviewed) }, one.is_reviewed ? "Not seen after all" : "Seen"),
  );
}

function replace(next) {
  shown = shown.map((other) => (other.event_id === next.event_id ? next : other));
  const item = [...list.children].find((other) => other.dataset.event === next.event_id);
  const had = item?.contains(detail);
  if (had) columns.append(detail);
  item?.replaceWith(row(next));
  reviewAll.hidden = !shown.some((one) => !one.is_reviewed);
  choose(next.event_id, { isQuiet: true });
}

async function mark(one, verdict, truth) {
  try {
    const told = await post(`api/events/${encodeURIComponent(one.event_id)}/mark`, { verdict, truth: verdict === "wrong" ? truth : "" });
    replace(told);
  } catch (error) {
    failed(error);
  }
}

async function review(events, reviewed = true) {
  if (!events.length) return;
  try {
    const told = await post("api/events/review", { events: events.map((one) => one.event_id), reviewed });
    tellNew(told.new);
    for (const one of events) replace({ ...one, is_reviewed: reviewed ? 1 : 0 });
  } catch (error) {
    failed(error);
  }
}

// -- search --------------------------------------------------------------------------------------

let typed = 0;
search.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => find().catch(failed), 180);
});

async function find(before = null) {
  const text = search.value.trim();
  if (!text) return fetchEvents();
  const told = await get("api/search", { q: text, camera: filter.camera, before });
  if (search.value.trim() !== text) return null;
  isSearch = true;
  const rows = told.hits.map((one) => hit(one, told.is_when));
  if (told.more_before_ms) {
    rows.push(el("li", {}, el("button", { type: "button", class: "more", onclick: () => find(told.more_before_ms).catch(failed) }, "Earlier")));
  }
  const [last] = told.hits;
  if (!told.hits.length) note.textContent = "Nothing was said of that.";
  else if (told.is_when) note.textContent = `Last at ${atDate(last.end_ms)}${last.count > 1 ? `, from ${atTime(last.at_ms)} on` : ""}. ${told.hits.length} stretch${told.hits.length === 1 ? "" : "es"} of time, newest first.`;
  else note.textContent = told.some ? "No entry has all of these words; these have some." : `${told.hits.length}${told.more_before_ms ? " and more" : ""} found, newest first.`;
  list.replaceChildren(...rows);
  reviewAll.hidden = true;
  detail.replaceChildren();
  if (detail.parentElement !== columns) columns.append(detail);
  return null;
}

function hit(one, isWhen) {
  const where = one.event_id ? `inbox?event=${encodeURIComponent(one.event_id)}` : `camera/${one.camera}`;
  const until = isWhen && one.end_ms > one.at_ms ? ` – ${atTime(one.end_ms)}` : "";
  return el(
    "li",
    { class: "hit" },
    el("a", { href: where }, el("span", { class: "quiet" }, one.camera, " · ", one.kind, " · ", time(one.at_ms, atDate(one.at_ms)), until, one.count > 1 ? ` · ${one.count} times` : "")),
    el("p", {}, one.question ? [...marked(one.question), " → "] : "", ...marked(one.said)),
  );
}

// The words that were found stand between \x01 and \x02.
function marked(text) {
  return text.split(/(\x01[^\x02]*\x02)/).map((part) =>
    part.startsWith("\x01") ? el("mark", {}, part.slice(1, -1)) : part,
  );
}

// -- keyboard ------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") {
      search.value = "";
      event.target.blur();
      if (isSearch) fetchEvents().catch(failed);
    }
    return;
  }
  const at = shown.findIndex((one) => one.event_id === chosen);
  const one = shown[at];
  const keys = {
    j: () => shown[at + 1] && choose(shown[at + 1].event_id),
    ArrowDown: () => shown[at + 1] && choose(shown[at + 1].event_id),
    k: () => shown[at - 1] && choose(shown[at - 1].event_id),
    ArrowUp: () => shown[at - 1] && choose(shown[at - 1].event_id),
    s: () => one && review([one], !one.is_reviewed),
    r: () => one && mark(one, one.verdict === "right" ? null : "right", ""),
    w: () => one && mark(one, one.verdict === "wrong" ? null : "wrong", one.truth ?? ""),
    c: () => one && location.assign(`camera/${one.camera}`),
    "/": () => search.focus(),
  };
  if (!isSearch || event.key === "/") {
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  }
});

const columns = el("div", { class: "columns" }, el("div", { class: "listing" }, note, list), detail);
main.replaceChildren(
  el("div", { class: "head" }, el("h1", { class: "hidden" }, "Inbox"), search, states, cameras, questions, days, reviewAll),
  columns,
  el(
    "p",
    { class: "foot quiet" },
    exportsBox,
    el("span", { class: "keys" }, ...["j", "k"].map((key) => el("kbd", {}, key)), " move ", el("kbd", {}, "s"), " seen ", el("kbd", {}, "r"), " right ", el("kbd", {}, "w"), " wrong ", el("kbd", {}, "c"), " camera ", el("kbd", {}, "/"), " search"),
  ),
);

async function begin() {
  setNow((await get("api/cameras")).now_ms);
  if (search.value.trim()) await find();
  else await fetchEvents();
}

listen({ inbox: () => !isSearch && fetchEvents().catch(failed) }, begin);
