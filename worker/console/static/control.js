// Adds, changes and removes a camera's questions, and pauses it, where its worker takes commands;
// says which value comes from where.

import { el, post } from "./page.js";

const FIELDS = [
  ["ask", "words", (one) => one.question ?? ""],
  ["enter", "enter at", (one) => one.enter ?? ""],
  ["exit", "exit at", (one) => one.exit ?? ""],
  ["every", "every", (one) => one.every ?? (one.every_s ? `${one.every_s}s` : "")],
];
const KINDS = ["yes_no", "choice", "count", "when", "text"];
const HELD_MS = 5000; // what was acknowledged stands until the register says it too
const SURE_MS = 10_000; // for the second click that removes

async function send(fields, told) {
  told.className = "quiet";
  told.textContent = "…";
  try {
    const ack = await post("api/command", fields);
    if (ack.refused) throw new Error(`${ack.refused.replaceAll("_", " ")}: ${ack.detail}`);
    const isGone = ack.question && !ack.settings;
    told.textContent = isGone ? `not asked any more, says ${ack.worker_id}` : `in effect, says ${ack.worker_id}`;
    return ack;
  } catch (error) {
    told.className = "fault";
    told.textContent = error.message;
    return null;
  }
}

// All of a question's settings as a worker acknowledged them, and where each comes from.
function inEffect(ack) {
  const changed = new Set(ack.changed);
  return el(
    "details",
    { class: "effect" },
    el("summary", {}, "All of its settings"),
    el(
      "dl",
      { class: "facts" },
      Object.entries(ack.settings).flatMap(([name, value]) => [
        el("dt", {}, name.replaceAll("_", " ")),
        el("dd", { "data-setting": name }, value || (name === "cameras" ? "all" : "not given"), el("span", { class: "quiet" }, changed.has(name) ? " by command" : " by environment or default")),
      ]),
    ),
  );
}

class QuestionForm {
  constructor(id, removed) {
    this.id = id;
    this.removed = removed;
    this.sureUntil = 0;
    this.isEdited = false;
    this.heldUntil = 0;
    this.told = el("span", { class: "quiet", role: "status" });
    this.inputs = new Map();
    this.sources = new Map();
    const fields = FIELDS.map(([name, words]) => {
      const input = el("input", { name, "aria-label": `${words} of ${id}`, maxlength: 500, autocomplete: "off", oninput: () => (this.isEdited = true) });
      const source = el("span", { class: "quiet source" });
      this.inputs.set(name, input);
      this.sources.set(name, source);
      return el("label", { class: name }, words, input, source);
    });
    this.pause = el("button", { type: "button", onclick: () => this.command(this.isPaused ? "resume" : "pause") });
    this.reset = el("button", { type: "button", onclick: () => this.command("reset") }, "Back to the environment");
    this.remove = el("button", { type: "button", onclick: () => this.takeAway() }, "Remove");
    this.effect = el("div");
    this.node = el(
      "form",
      { class: "question", onsubmit: (event) => this.save(event) },
      el("h3", {}, id),
      el("div", { class: "row" }, fields),
      el("div", { class: "row" }, el("button", { class: "main" }, "Change"), this.pause, this.reset, this.remove, this.told),
      this.effect,
    );
  }

  async takeAway() {
    if (performance.now() > this.sureUntil) {
      this.sureUntil = performance.now() + SURE_MS;
      this.remove.textContent = "Remove it from all cameras?";
      setTimeout(() => (this.remove.textContent = "Remove"), SURE_MS);
      return;
    }
    this.sureUntil = 0;
    const ack = await send({ do: "remove", question: this.id }, this.told);
    if (ack) this.removed(this.id);
  }

  show(asked) {
    if (performance.now() < this.heldUntil) return;
    this.isPaused = asked.paused;
    const changed = new Set(asked.changed ?? []);
    for (const [name, , of] of FIELDS) {
      if (!this.isEdited) this.inputs.get(name).value = this.inputs.get(name).defaultValue = `${of(asked)}`;
      this.sources.get(name).textContent = changed.has(name) ? "by command" : "by environment";
    }
    for (const name of ["enter", "exit"]) this.inputs.get(name).disabled = asked.enter === null;
    this.pause.textContent = asked.paused ? "Resume" : "Pause";
    this.reset.hidden = changed.size === 0;
    this.node.classList.toggle("paused", Boolean(asked.paused));
  }

  async save(event) {
    event.preventDefault();
    const fields = {};
    for (const [name, input] of this.inputs) {
      if (input.value.trim() !== input.defaultValue) fields[name] = input.value.trim();
    }
    if (Object.keys(fields).length) await this.command("change", fields);
  }

  async command(what, fields = {}) {
    const ack = await send({ do: what, question: this.id, ...fields }, this.told);
    if (!ack) return;
    if (!ack.settings) return this.removed(this.id);
    this.effect.replaceChildren(inEffect(ack));
    if (what !== "pause" && what !== "resume") this.isEdited = false;
    const { ask, enter, exit, every } = ack.settings;
    const rule = this.inputs.get("enter").disabled ? { enter: null, exit: null } : { enter, exit };
    this.heldUntil = 0;
    this.show({ question: ask, every, ...rule, paused: ack.paused, changed: ack.changed });
    this.heldUntil = performance.now() + HELD_MS;
  }
}

class NewQuestion {
  constructor(camera, isAsked) {
    this.camera = camera;
    this.isAsked = isAsked;
    this.told = el("span", { class: "quiet", role: "status" });
    this.effect = el("div");
    const box = (name, words, about = {}) => el("label", { class: name === "ask" ? "ask" : "field" }, words, el("input", { name, maxlength: 500, autocomplete: "off", ...about }));
    this.here = el("input", { type: "checkbox", name: "here" });
    this.options = box("options", "answers, separated by commas", { disabled: true });
    const kind = el("select", { name: "kind", onchange: () => (this.options.querySelector("input").disabled = kind.value !== "choice") }, KINDS.map((one) => el("option", { value: one }, one.replace("_", "/"))));
    this.node = el(
      "form",
      { class: "question new", onsubmit: (event) => this.save(event) },
      el("h3", {}, "Ask something more"),
      el("div", { class: "row" }, [
        box("question", "name", { required: true, placeholder: "gate-open" }),
        el("label", { class: "kind" }, "kind", kind),
        this.options,
        box("event_on", "event on", { placeholder: "yes" }),
        box("every", "every", { placeholder: "5s" }),
        box("ask", "new question", { required: true, placeholder: "Is the gate open?" }),
      ]),
      el("div", { class: "row" }, el("button", { class: "main" }, "Add"), el("label", { class: "here" }, this.here, `only of ${camera}`), this.told),
      this.effect,
    );
  }

  async save(event) {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(this.node)].map(([name, value]) => [name, value.trim()]));
    delete given.here;
    const fields = Object.fromEntries(Object.entries(given).filter(([, value]) => value));
    if (this.here.checked) fields.cameras = this.camera;
    if (this.isAsked(fields.question)) {
      this.told.className = "fault";
      this.told.textContent = `${fields.question}: expected a name that no question has`;
      return;
    }
    const ack = await send({ do: "put", ...fields }, this.told);
    if (!ack) return;
    this.node.reset();
    this.options.querySelector("input").disabled = true;
    this.effect.replaceChildren(el("h3", {}, ack.question), inEffect(ack));
  }
}

export class Controls {
  constructor(camera) {
    this.camera = camera;
    this.heldUntil = 0;
    this.forms = new Map();
    this.told = el("span", { class: "quiet", role: "status" });
    this.pause = el("button", { type: "button", onclick: () => this.command(this.isPaused ? "resume" : "pause") });
    const refresh = el("button", { type: "button", onclick: () => this.command("refresh") }, "Send the next picture whole");
    this.questions = el("div", { class: "questions" });
    this.gone = el("p", { class: "quiet", role: "status" });
    this.removedUntil = new Map(); // by question, until the register says it too
    this.more = new NewQuestion(camera, (id) => this.forms.has(id));
    this.node = el(
      "details",
      { class: "control", hidden: true },
      el("summary", {}, "Change what is asked"),
      el("div", { class: "row" }, this.pause, refresh, this.told),
      el("p", { class: "quiet" }, "A question's change is in effect on all cameras that it is asked of, and stays."),
      this.questions,
      this.gone,
      this.more.node,
    );
  }

  removed(id) {
    this.drop(id);
    this.removedUntil.set(id, performance.now() + HELD_MS);
    const told = el("span", { class: "quiet" });
    const back = async () => {
      const ack = await send({ do: "reset", question: id }, told);
      if (!ack?.settings) return;
      this.removedUntil.delete(id);
      this.show(this.tile);
    };
    setTimeout(() => this.show(this.tile), HELD_MS + 100);
    this.gone.replaceChildren(`${id} is not asked any more. `, el("button", { type: "button", onclick: back }, `Ask ${id} as the environment says`), " ", told);
  }

  drop(id) {
    this.forms.get(id)?.node.remove();
    this.forms.delete(id);
  }

  show(tile) {
    this.tile = tile;
    this.node.hidden = !tile.control;
    if (performance.now() >= this.heldUntil) this.tell(tile.paused);
    for (const [id, form] of this.forms) {
      if (!tile.questions[id] && performance.now() >= form.heldUntil) this.drop(id);
    }
    for (const [id, asked] of Object.entries(tile.questions)) {
      if (performance.now() < (this.removedUntil.get(id) ?? 0)) continue;
      if (!this.forms.has(id)) {
        this.forms.set(id, new QuestionForm(id, () => this.removed(id)));
        this.questions.append(this.forms.get(id).node);
      }
      this.forms.get(id).show(asked);
    }
  }

  tell(isPaused) {
    this.isPaused = isPaused;
    this.pause.textContent = isPaused ? "Resume this camera" : "Pause this camera";
  }

  async command(what) {
    const ack = await send({ do: what, camera: this.camera }, this.told);
    if (!ack) return;
    this.tell(ack.paused);
    this.heldUntil = performance.now() + HELD_MS;
  }
}
