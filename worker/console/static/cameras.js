// All cameras: a tile each, in an order that stays.

import {
  atTime, dimToggle, el, failed, get, listen, looking, main, nearness, now, number, ofText, percent,
  setNow, span, tellNew,
} from "./page.js";
import { Picture } from "./picture.js";

const tiles = new Map(); // camera -> Tile
const onScreen = new Set();
const watching = new IntersectionObserver((seen) => {
  for (const one of seen) {
    const camera = one.target.dataset.camera;
    if (one.isIntersecting) onScreen.add(camera);
    else onScreen.delete(camera);
  }
});
const summary = el("p", { class: "summary", role: "status" });
const wall = el("div", { class: "wall" });

const WRONG = ["offline", "frozen", "degraded", "connecting"];
const BLIND = ["offline", "frozen"]; // what its picture shows is not so now

class Tile {
  constructor(camera) {
    this.picture = new Picture(camera);
    this.state = el("span", { class: "state" });
    this.age = el("span", { class: "age" });
    this.sent = el("span", { class: "sent", title: "share of the window's tokens that was sent" });
    this.caption = el("p", { class: "caption" });
    this.chips = el("ul", { class: "chips" });
    this.node = el(
      "article",
      { class: "tile", "data-camera": camera },
      el(
        "a",
        { class: "face", href: `camera/${camera}` },
        this.picture.node,
        el("span", { class: "name" }, el("b", {}, camera), this.state),
      ),
      el("p", { class: "facts" }, this.age, this.sent),
      this.caption,
      this.chips,
    );
    watching.observe(this.node);
  }

  take(told) {
    this.told = told;
    const isWrong = WRONG.includes(told.state);
    this.node.classList.toggle("wrong", isWrong);
    this.node.classList.toggle("blind", BLIND.includes(told.state));
    const open = Object.values(told.questions).filter((one) => one.event_id);
    this.node.classList.toggle("event", open.length > 0);
    const why = told.reason ? `${told.state}: ${told.reason.replaceAll("_", " ")}` : told.state;
    this.state.textContent = isWrong || !told.state ? (why ?? "unknown") : "";
    this.state.title = told.detail ?? "";
    this.sent.textContent = told.kept_ratio === null ? "" : `${percent(told.kept_ratio)} sent`;
    this.caption.textContent = told.caption ?? "";
    this.chips.replaceChildren(...Object.entries(told.questions).map(([id, one]) => chip(id, one)));
    this.tick();
  }

  tick() {
    const seen = this.told?.captured_at ? span(now() - ofText(this.told.captured_at)) : "";
    const age = this.picture.age || seen;
    this.age.textContent = age ? `${age} ago` : "";
  }
}

export function chip(id, asked) {
  const near = nearness(asked);
  const said = asked.answer ?? "not asked yet";
  const made = el(
    "li",
    {
      class: `chip${asked.event_id ? " open" : ""}${asked.answer === "unknown" ? " unknown" : ""}`,
      "data-question": id,
      title: `${asked.question}\n${said}, p ${number(asked.p)}${asked.why ? `, ${asked.why}` : ""}${asked.at_ms ? `, ${atTime(asked.at_ms)}` : ""}`,
    },
    el("span", { class: "id" }, id),
    " ",
    el("span", { class: "said" }, said),
  );
  made.style.setProperty("--p", near ?? 0);
  made.dataset.p = near === null ? "" : near.toFixed(2);
  return made;
}

function tell() {
  const all = [...tiles.values()].map((one) => one.told);
  const wrong = all.filter((one) => WRONG.includes(one.state));
  const open = all.flatMap((one) =>
    Object.entries(one.questions).filter(([, asked]) => asked.event_id).map(([id, asked]) => ({ one, id, asked })),
  );
  wall.dataset.count = all.length <= 1 ? "one" : all.length <= 4 ? "few" : all.length <= 9 ? "some" : all.length <= 24 ? "lot" : "many";
  const parts = [el("span", {}, `${all.length} camera${all.length === 1 ? "" : "s"}`)];
  for (const { one, id, asked } of open.slice(0, 6)) {
    parts.push(
      el("a", { class: "alert", href: `camera/${one.camera}` }, `${one.camera}: ${id} since ${atTime(asked.event_since_ms)}`),
    );
  }
  if (open.length > 6) parts.push(el("span", { class: "alert" }, `${open.length - 6} more events`));
  for (const state of WRONG) {
    const those = wrong.filter((one) => one.state === state);
    if (those.length > 3) parts.push(el("span", { class: "fault" }, `${those.length} ${state}`));
    else for (const one of those) parts.push(el("a", { class: "fault", href: `camera/${one.camera}` }, `${one.camera}: ${state}`));
  }
  if (all.length && !open.length && !wrong.length) parts.push(el("span", { class: "quiet" }, "all quiet"));
  summary.replaceChildren(...parts);
  empty.hidden = all.length > 0;
}

const empty = el(
  "p",
  { class: "quiet empty", hidden: true },
  "No camera is registered on this Redis. A worker names its cameras there as soon as it runs.",
);

function take(told) {
  for (const [camera, one] of Object.entries(told)) {
    if (one === null) {
      const gone = tiles.get(camera);
      if (gone) watching.unobserve(gone.node);
      gone?.node.remove();
      tiles.delete(camera);
      onScreen.delete(camera);
      continue;
    }
    let tile = tiles.get(camera);
    if (!tile) {
      tile = new Tile(camera);
      tiles.set(camera, tile);
      const after = [...wall.children].find((other) => other.dataset.camera > camera);
      wall.insertBefore(tile.node, after ?? null);
    }
    tile.take(one);
  }
  tell();
}

async function begin() {
  const told = await get("api/cameras");
  setNow(told.now_ms);
  tellNew(told.new);
  const gone = [...tiles.keys()].filter((one) => !told.cameras.some((other) => other.camera === one));
  take({
    ...Object.fromEntries(gone.map((one) => [one, null])),
    ...Object.fromEntries(told.cameras.map((one) => [one.camera, one])),
  });
}

main.replaceChildren(
  el("div", { class: "head" }, el("h1", { class: "hidden" }, "Cameras"), summary, dimToggle()),
  wall,
  empty,
);
listen(
  {
    tiles: take,
    shots: (shots) => {
      for (const [camera, shot] of Object.entries(shots)) {
        tiles.get(camera)?.picture.show(shot);
        tiles.get(camera)?.tick();
      }
    },
  },
  begin,
);
looking(() => [...onScreen]);
setInterval(() => tiles.forEach((one) => one.tick()), 1000);
begin().catch(failed);
