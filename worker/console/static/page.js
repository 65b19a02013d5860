// What all pages share: elements from words (never from markup), requests, times, the live stream.

export function el(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return made;
}

export function svg(name, about = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const main = document.getElementById("main");

// -- requests ------------------------------------------------------------------------------------

export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function fetched(path, about) {
  let answer;
  try {
    answer = await fetch(path, about);
  } catch {
    throw new Refused(0, "The console does not answer.");
  }
  if (answer.status === 401) location.assign("login");
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => null); // it broke off, or came from a proxy
  if (!answer.ok) throw new Refused(answer.status, told?.error ?? `answered ${answer.status}`);
  if (told === null) throw new Refused(0, "The console does not answer.");
  return told;
}

export const get = (path, query = {}) => {
  const wanted = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
  return fetched(wanted.length ? `${path}?${new URLSearchParams(wanted)}` : path);
};

export const post = (path, body) =>
  fetched(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

// -- times, in the viewer's zone -----------------------------------------------------------------

let ahead = 0; // of the console's clock before this one
export const setNow = (ms) => (ahead = ms - Date.now());
export const now = () => Date.now() + ahead;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const dated = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export const atTime = (ms) => clock.format(ms);
export const atShort = (ms) => short.format(ms);
export const atDay = (ms) => day.format(ms);
export const atDate = (ms) => dated.format(ms);
export const ofText = (text) => (text ? Date.parse(text) : NaN);

export function dayStart(ms) {
  const when = new Date(ms);
  return new Date(when.getFullYear(), when.getMonth(), when.getDate()).getTime();
}

export const time = (ms, words) =>
  el("time", { datetime: new Date(ms).toISOString(), title: atDate(ms) }, words ?? atTime(ms));

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

// -- words ---------------------------------------------------------------------------------------

export const percent = (share) =>
  share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`;
export const number = (p) => (p === null || p === undefined ? "–" : p.toFixed(2));

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (count >= 1000 && power < units.length - 1) {
    count /= 1000;
    power += 1;
  }
  return `${count >= 10 || power === 0 ? Math.round(count) : count.toFixed(1)} ${units[power]}`;
}

// How near a question is to its event, 0 to 1; null where it has none or nothing is known.
export function nearness(asked, said = asked.answer, p = asked.p) {
  if (p === null || p === undefined || asked.enter === null || asked.enter === undefined) return null;
  const target = asked.target ?? "yes";
  if (asked.kind === "yes_no") return target === "no" ? 1 - p : p;
  const holds = asked.kind === "count" ? Number(said) >= Number(target) : said === target;
  return holds ? p : 1 - p;
}

// -- the live stream -----------------------------------------------------------------------------

const REASONS = {
  connecting: "connecting",
  unreachable: "it cannot be reached",
  timeout: "it does not answer in time",
  auth_failed: "it refuses the login",
  not_permitted: "its user may not do that",
  loading: "it is starting",
};

function tellLink(link) {
  const line = document.getElementById("link");
  line.hidden = link.up;
  if (link.up) return;
  const isDisk = link.reason.startsWith("history_");
  const why = REASONS[link.reason] ?? link.reason.replaceAll("_", " ");
  line.textContent = isDisk
    ? `The console's disk fails since ${atTime(link.since_ms)}: ${why}. Nothing new is shown until it is well.`
    : `Redis is away since ${atTime(link.since_ms)}: ${why}. What you see is from before; it goes on by itself.`;
}

export function tellNew(count) {
  const link = document.getElementById("nav-inbox");
  link.replaceChildren("Inbox");
  if (count > 0) link.append(el("b", { class: "count", "aria-label": `${count} new` }, `${count}`));
  document.title = document.title.replace(/^(\(\d+\) )?/, count > 0 ? `(${count}) ` : "");
}

// Calls of `on` by the event's name with its value; `begin` after each time that the stream opens.
export function listen(on, begin, camera = "") {
  const stream = new EventSource(camera ? `api/live?camera=${encodeURIComponent(camera)}` : "api/live");
  const heard = { link: tellLink, inbox: (told) => tellNew(told.new), ...on };
  for (const [name, take] of Object.entries(heard)) {
    stream.addEventListener(name, (event) => {
      if (name === "link" && on.link) tellLink(JSON.parse(event.data));
      if (name === "inbox" && on.inbox) tellNew(JSON.parse(event.data).new);
      take(JSON.parse(event.data));
    });
  }
  stream.onopen = () => begin().catch(failed);
  stream.onerror = () => {
    const line = document.getElementById("link");
    line.hidden = false;
    line.textContent = "The console does not answer. This page tries again by itself.";
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(() => get("api/cameras").then(() => listen(on, begin, camera), () => stream.onerror()), 3000);
    }
  };
}

export function failed(error) {
  const words = error instanceof Refused ? error.message : `Something failed: ${error.message}`;
  const line = document.getElementById("link");
  line.hidden = false;
  line.textContent = words;
  if (!(error instanceof Refused)) throw error;
}

// Tells the console which cameras are on the screen, again and again while they are.
export function looking(shown) {
  let last = "";
  const say = () => {
    const cameras = document.visibilityState === "visible" ? shown() : [];
    if (cameras.length) post("api/look", { cameras }).catch(() => {});
    last = cameras.join();
  };
  setInterval(say, 2000);
  setInterval(() => document.visibilityState === "visible" && shown().join() !== last && say(), 300);
  document.addEventListener("visibilitychange", say);
}

export const dims = {
  get on() {
    try {
      return localStorage.getItem("vigil-dim") === "1";
    } catch {
      return false;
    }
  },
  set on(value) {
    try {
      localStorage.setItem("vigil-dim", value ? "1" : "0");
    } catch {
      // a browser that keeps nothing: it holds for this page
    }
    document.documentElement.classList.toggle("dim", value);
  },
};

export function dimToggle() {
  const box = el("input", { type: "checkbox", onchange: () => (dims.on = box.checked) });
  box.checked = dims.on;
  document.documentElement.classList.toggle("dim", dims.on);
  return el("label", { class: "toggle" }, box, "Dim what was not sent");
}
