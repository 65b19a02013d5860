// Workers, cameras that are not well, Redis, and the console's own history.

import { atDate, atTime, bytes, el, failed, get, listen, main, now, ofText, percent, setNow, span, time } from "./page.js";

const box = el("div", { class: "health" });

function table(head, rows, none) {
  if (!rows.length) return el("p", { class: "quiet" }, none);
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, head.map((one) => el("th", { scope: "col" }, one)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell ?? "–"))))),
    ),
  );
}

const plain = (value) => (value === undefined || value === null ? null : String(value));

function worker(one, cameras) {
  const publishing = one.publishing ?? {};
  const isWell = publishing.state === "ok";
  const { load, memory_bytes: memory, frames_dropped: dropped } = one;
  const lags = cameras.map((other) => other.lag_ms).filter((ms) => typeof ms === "number");
  return [
    el("b", {}, `${one.worker_id}`),
    `${cameras.length}`,
    one.model,
    load && (load.level ? el("span", { class: "fault" }, `level ${load.level}: ${load.reason}`) : "0"),
    lags.length ? `${Math.max(...lags)} ms` : null,
    plain(one.outbox_depth),
    el("span", { class: isWell ? "" : "fault" }, isWell ? "ok" : [publishing.state, publishing.reason].filter(Boolean).join(": ") || "–"),
    plain(dropped),
    bytes(memory),
    one.at ? time(ofText(one.at), `${span(now() - ofText(one.at))} ago`) : null,
  ];
}

async function tell() {
  const told = await get("api/health");
  setNow(told.now_ms);
  const wrong = told.cameras.filter((one) => one.state !== "online");
  const owners = new Set((told.workers ?? []).map((one) => one.worker_id));
  const alone = told.cameras.filter((one) => one.owner && !owners.has(one.owner) && told.workers);
  const { history } = told;
  const passed = Object.entries(history.passed_over);
  box.replaceChildren(
    el("h2", {}, "Workers"),
    told.workers === null
      ? el("p", { class: "fault" }, "Redis does not answer, so that nobody can tell.")
      : table(
          ["worker", "cameras", "model", "load", "lag", "outbox", "publishing", "dropped", "memory", "heartbeat"],
          told.workers.map((one) => worker(one, told.cameras.filter((other) => other.owner === one.worker_id))),
          "No worker runs: none has a heartbeat on this Redis.",
        ),
    alone.length ? el("p", { class: "fault" }, `${alone.length} camera(s) of workers that do not run: ${alone.map((one) => `${one.camera} (${one.owner})`).join(", ")}`) : "",
    el("h2", {}, "Cameras that are not online"),
    table(
      ["camera", "state", "reason", "since", "next try", "more"],
      wrong.map((one) => [
        el("a", { href: `camera/${one.camera}` }, one.camera),
        el("b", { class: "fault" }, one.state ?? "unknown"),
        one.reason?.replaceAll("_", " "),
        one.since && atDate(ofText(one.since)),
        one.next_try_at && atTime(ofText(one.next_try_at)),
        one.detail,
      ]),
      `None: all ${told.cameras.length} are.`,
    ),
    el("h2", {}, "Redis"),
    el(
      "p",
      {},
      told.redis
        ? `Redis ${told.redis.redis_version}, ${bytes(told.redis.used_memory)} used${told.redis.maxmemory ? ` of ${bytes(told.redis.maxmemory)} (${percent(told.redis.used_memory / told.redis.maxmemory)})` : ", no limit"}`
        : `away: ${told.link.reason}`,
    ),
    el("h2", {}, "This console's history"),
    el(
      "p",
      {},
      `${history.messages.toLocaleString()} messages, ${bytes(history.bytes)}`,
      history.first_ms ? `, from ${atDate(history.first_ms)} on` : "",
      `. ${told.viewers} page(s) open, ${told.watched} camera(s) looked at.`,
    ),
    passed.length ? el("p", {}, `Passed over: ${passed.map(([reason, count]) => `${count} ${reason}`).join(", ")}.`) : el("p", { class: "quiet" }, "No message was passed over."),
    el("h3", {}, "Gaps: what a stream did not hold any more when it was read"),
    table(
      ["camera", "kind", "from", "to", "missed"],
      told.gaps.map(([camera, kind, from, to, missed]) => [camera, kind, atDate(from), atDate(to), missed === null ? "not known" : String(missed)]),
      "None.",
    ),
  );
}

main.replaceChildren(el("h1", {}, "Health"), box);
listen({ link: () => tell().catch(failed) }, tell);
setInterval(() => document.visibilityState === "visible" && tell().catch(failed), 5000);
